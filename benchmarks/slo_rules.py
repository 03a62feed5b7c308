"""Make the rules, unit tests and dashboards of 1,000 services, and print what each takes, beside two peers.

`slo_rules.py [SERVICES]`: the peers are `yaml.dump` by libyaml of the same rules as plain structures (a tenth of the
services, times ten: it is slow), and `promtool check rules` of the written files. The policies are built in memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from opsascode.errors import Position
from opsascode.repo import (
    BudgetLevel,
    Events,
    Fallback,
    GateRules,
    Histogram,
    Metadata,
    Notify,
    Policies,
    ReliabilityPolicy,
    Rolling,
    Source,
    Target,
    Thresholds,
)
from opsascode.slo import dashboard_text, rule_files, rule_tests, rules_text, unit_tests_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsascode.slo import RuleFile

_HERE = Position(path="policies/reliability.yml")
_PROMISED = 5.0
_FEW = 10


def policy(name: str) -> ReliabilityPolicy:
    """Two promises, as the shortest document has them."""
    requests = f'http_requests_total{{service="{name}"}}'
    errors = f'http_requests_total{{service="{name}",code=~"5.."}}'
    took = Histogram(metric="http_request_duration_seconds", selector={"service": name}, threshold=Decimal("0.15"))
    gate = GateRules(
        warn_at=BudgetLevel.WARN,
        block_at=BudgetLevel.CRITICAL,
        exempt=(),
        block_on_page=True,
        incident_rank=1,
        freeze=(),
        grace=timedelta(hours=1),
        unknown=Fallback.BLOCK,
        override=None,
        position=_HERE,
    )
    return ReliabilityPolicy(
        metadata=Metadata(name=name, title=name, labels={}, position=_HERE),
        service=name,
        window=Rolling(length=timedelta(days=30)),
        targets=(
            _target("availability", "0.9995", Events(bad=errors, total=requests)),
            _target("latency_p95_ms", "0.95", took),
        ),
        thresholds=Thresholds(warn=Decimal("0.5"), critical=Decimal("0.8")),
        alerting=(),
        escalation_chain=(Notify(whom="team:sre", position=_HERE),),
        gate=gate,
        source=Source(path="policies/reliability.yml", digest="sha256:00"),
        position=_HERE,
    )


def _target(name: str, share: str, indicator: Events | Histogram) -> Target:
    return Target(id=name, title=name, target=Decimal(share), indicator=indicator, position=_HERE)


def plain(files: Sequence[RuleFile]) -> list[dict[str, Any]]:
    """The same rules as a library would be given them."""
    return [
        {
            "groups": [
                {
                    "name": group.name,
                    "rules": [
                        {
                            ("record" if rule.record else "alert"): rule.name,
                            "expr": rule.expr,
                            "labels": dict(rule.labels),
                            **({"annotations": dict(rule.annotations)} if rule.annotations else {}),
                        }
                        for rule in group.rules
                    ],
                }
                for group in file.groups
            ]
        }
        for file in files
    ]


def took(what: str, act: Callable[[], Any], times: int = 1) -> float:
    began, worked = time.perf_counter(), _worked()
    act()
    seconds, processor = (time.perf_counter() - began) * times, (_worked() - worked) * times
    print(f"{what:<40} {seconds:8.2f} s, of the processor {processor:8.2f} s", flush=True)
    return seconds


def _worked() -> float:
    """Processor time of this process and of those it has waited for: it hardly depends on what else runs."""
    told = os.times()
    return told.user + told.system + told.children_user + told.children_system


def main(services: int) -> None:
    policies = Policies(reliability=tuple(policy(f"service-{number:04}") for number in range(services)))
    files: list[RuleFile] = []
    texts: dict[str, str] = {}
    rules = took("rules, as structures", lambda: files.extend(rule_files(policies)))
    rules += took("rules, as YAML", lambda: texts.update({each.name: rules_text(each) for each in files}))
    count = sum(len(group.rules) for file in files for group in file.groups)
    tests = took("unit tests of the rules, as YAML", lambda: [unit_tests_text(rule_tests(each)) for each in files])
    boards = took("dashboards, as JSON", lambda: [dashboard_text(each) for each in files])
    few = plain(files[: max(1, services // _FEW)])
    dumper: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    peer = took("peer: libyaml writes the same rules", lambda: [yaml.dump(each, Dumper=dumper) for each in few], _FEW)
    with tempfile.TemporaryDirectory(prefix="opsascode-bench-") as place:
        for name, text in texts.items():
            Path(place, f"{name}.yml").write_text(text, "utf-8")
        words = ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *sorted(Path(place).iterdir())]
        checked = took(
            "peer: promtool reads and checks them", lambda: subprocess.run(words, check=True, capture_output=True)
        )
    everything = rules + tests + boards
    print(f"{services} services, {count} rules: {rules:.2f} s, with unit tests and dashboards {everything:.2f} s")
    print(f"rules alone against libyaml {peer / rules:.1f} x faster, against promtool {checked / rules:.1f} x faster")
    print(f"promised: rules under {_PROMISED:.0f} s: {'holds' if rules < _PROMISED else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
