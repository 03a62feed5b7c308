"""The rules that a real Prometheus has loaded, compared with those that the policies give."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.repo import policies_of
from opsascode.slo import Loading, PrometheusClient, PrometheusError, compare_loaded, rule_files
from tests.slo.prometheus import running_prometheus
from tests.transitions import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.slo import PromRule, RuleFile, RuleGroup
    from tests.slo.prometheus import Prometheus

POLICY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  window: 30d
  slo_targets: {availability: 99.9%, latency_p95_ms: 150}
  escalation_chain: [{notify: 'team:sre', after: 5m}]
"""


@pytest.fixture(scope="module")
def files() -> tuple[RuleFile, ...]:
    return rule_files(policies_of(snapshot({"policies/shop.yml": POLICY.lstrip("\n")})))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("loaded")) as started:
        yield started


def written(files: Sequence[RuleFile], place: Path) -> list[Path]:
    """Write rules as JSON, which is YAML too."""
    paths = []
    for file in files:
        groups = [
            {"name": group.name, "interval": spelt(group.interval), "rules": [as_yaml(rule) for rule in group.rules]}
            for group in file.groups
        ]
        paths.append(place / f"{file.name}.yml")
        paths[-1].write_text(json.dumps({"groups": groups}))
    return paths


def as_yaml(rule: PromRule) -> dict[str, Any]:
    made: dict[str, Any] = {"record": rule.record} if rule.record else {"alert": rule.alert}
    made |= {"expr": rule.expr, "labels": dict(rule.labels)}
    if rule.annotations:
        made["annotations"] = dict(rule.annotations)
    if rule.wait:
        made["for"] = spelt(rule.wait)
    if rule.keep:
        made["keep_firing_for"] = spelt(rule.keep)
    return made


def spelt(span: timedelta) -> str:
    return f"{int(span.total_seconds() * 1000)}ms"


def client(prometheus: Prometheus) -> PrometheusClient:
    return PrometheusClient(prometheus.url, timeout=timedelta(seconds=10))


def load(prometheus: Prometheus, files: Sequence[RuleFile], place: Path) -> None:
    place.mkdir(exist_ok=True)
    prometheus.reload(rules=written(files, place))


def with_group(files: Sequence[RuleFile], *rules: PromRule) -> tuple[RuleFile, ...]:
    """The files with other rules in the first group."""
    first, *others = files[0].groups
    groups: tuple[RuleGroup, ...] = (replace(first, rules=rules), *others)
    return (replace(files[0], groups=groups), *files[1:])


def test_rules_that_are_loaded_as_they_were_written_differ_in_nothing(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    load(prometheus, files, tmp_path)
    found = compare_loaded(files, client(prometheus))
    assert found.differences == ()
    assert found.expected == found.loaded > 20
    assert found.share == 0


def test_nothing_loaded_is_missing_group_by_group(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    load(prometheus, (), tmp_path)
    found = compare_loaded(files, client(prometheus))
    assert {each.loading for each in found.differences} == {Loading.MISSING}
    assert len(found.differences) == len(files[0].groups)
    assert found.loaded == 0


def test_missing_different_and_extra_rules_are_named(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    gone, other, *same = files[0].groups[0].rules
    changed = replace(other, expr="vector(1)")
    extra = replace(other, record="slo:of:somebody")
    load(prometheus, with_group(files, changed, extra, *same), tmp_path)
    found = {(each.loading, each.rule): each.why for each in compare_loaded(files, client(prometheus)).differences}
    assert found == {
        (Loading.MISSING, gone.name): "",
        (Loading.DIFFERENT, other.name): "its query",
        (Loading.EXTRA, "slo:of:somebody"): "",
    }


def test_a_group_of_a_policy_that_is_gone_is_extra_and_those_of_others_are_none_of_ours(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    first, *others = files[0].groups
    of_others = replace(first, name="of the platform team")
    load(prometheus, (replace(files[0], groups=(first, *others, of_others)),), tmp_path)
    found = compare_loaded((replace(files[0], groups=tuple(others)),), client(prometheus))
    assert [(each.loading, each.group) for each in found.differences] == [(Loading.EXTRA, first.name)]


def test_waiting_annotations_and_pace_count_as_well(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    group = files[0].groups[0]
    alert = next(each for each in group.rules if each.alert)
    changed = replace(alert, wait=timedelta(minutes=17), annotations={"summary": "another"})
    rules = tuple(changed if each is alert else each for each in group.rules)
    slower = replace(group, rules=rules, interval=group.interval * 3)
    load(prometheus, (replace(files[0], groups=(slower, *files[0].groups[1:])),), tmp_path)
    found = {each.rule: each.why for each in compare_loaded(files, client(prometheus)).differences}
    assert found == {alert.name: "how long it waits, its annotations", "": "it is evaluated at another pace"}


def test_a_query_that_is_only_printed_otherwise_is_the_same(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    rule = files[0].groups[0].rules[0]
    asked = replace(rule, expr='sum by (code)(rate(http_requests_total{service="shop",code="500"}[90m])) / 0.50')
    loaded = replace(rule, expr='sum(rate(http_requests_total{code="500",service="shop"}[1h30m])) by(code) /  0.5')
    load(prometheus, with_group(files, loaded), tmp_path)
    assert compare_loaded(with_group(files, asked), client(prometheus)).differences == ()
    other = replace(rule, expr=asked.expr.replace("shop", "sh op"))
    (found,) = compare_loaded(with_group(files, other), client(prometheus)).differences
    assert (found.loading, found.why) == (Loading.DIFFERENT, "its query")


def test_a_rule_that_cannot_be_evaluated_is_different(
    prometheus: Prometheus, files: tuple[RuleFile, ...], tmp_path: Path
) -> None:
    rule = files[0].groups[0].rules[0]
    doubled = replace(
        rule,
        expr='label_replace(vector(1), "a", "1", "", "") or (vector(1) * on() group_left() (label_replace(vector(1), "a", "1", "", "") or label_replace(vector(1), "a", "2", "", "")))',
    )
    quick = replace(files[0].groups[0], rules=(doubled,), interval=timedelta(seconds=1))
    asked = (replace(files[0], groups=(quick, *files[0].groups[1:])),)
    load(prometheus, asked, tmp_path)
    deadline = time.monotonic() + 30
    found = compare_loaded(asked, client(prometheus)).differences
    while not found and time.monotonic() < deadline:
        time.sleep(0.3)
        found = compare_loaded(asked, client(prometheus)).differences
    assert [each.loading for each in found] == [Loading.DIFFERENT]
    assert found[0].why.startswith("it cannot be evaluated: ")


def test_a_prometheus_that_is_down_is_an_error_of_its_own(files: tuple[RuleFile, ...]) -> None:
    nobody = PrometheusClient("http://127.0.0.1:9", timeout=timedelta(seconds=2))
    with pytest.raises(PrometheusError):
        compare_loaded(files, nobody)
