"""Replay 1,000 records of 90 days against another pack, and print how many seconds that took, imports left out.

`simulate.py [RECORDS [RULES]]`. Runs and refusals, verdicts of gates and measurements, each at a moment of its own, so
that calendars are asked anew for every one. The candidate has another limit in every guardrail, a shorter freeze and
other thresholds; both packs have this many rules in guardrails, and ten reliability policies.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from opsascode.policy import (
    BlastRadius,
    GateJudged,
    GateQuestion,
    PlanJudged,
    RecordKind,
    SloTaken,
    Subject,
    Trigger,
    simulate,
)
from opsascode.repo import Policies, ProtectedFile, policies_of, snapshot_of
from opsascode.slo import Counted, SloSnapshot, TargetSeen, burn_windows

BEGIN = datetime(2026, 8, 23, tzinfo=UTC)
DAYS = 90
SERVICES = 10
CALENDARS = """
apiVersion: opsascode/v1
kind: Calendar
metadata: {{name: freeze}}
spec:
  timezone: Europe/Berlin
  windows: [{{name: weekends, start: 2026-01-02T{hour:02d}:00, end: 2026-01-05T06:00, rrule: FREQ=WEEKLY;BYDAY=FR}}]
---
apiVersion: opsascode/v1
kind: Calendar
metadata: {{name: hours}}
spec: {{timezone: Europe/Berlin, windows: [{{name: day, days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}}]}}
"""
RULES = (
    "what: {{runbooks: [deploy-*], tags: [t{number}]}}, when: {{during: [freeze]}}, then: deny",
    "where: {{groups: [group{number}], hosts_over: {limit}}}, then: deny",
    "where: {{groups: [group{number}]}}, then: require, require: {{approvals: {{required: 2, role: sre}}}}",
    "when: {{outside: [hours]}}, what: {{runbooks: [drop-{number}]}}, then: deny",
    "what: {{modules: [raw]}}, where: {{groups: [group{number}]}}, then: deny",
    "what: {{runbooks: [deploy-*], tags: [t{number}]}}, where: {{percent_over: {limit}}}, then: deny",
    "who: {{triggers: [alert]}}, where: {{groups: [group{number}]}}, then: require, require: {{max_hosts: {limit}}}",
    "what: {{runbooks: [restart-{number}]}}, when: {{during: [freeze]}}, then: deny",
    "what: {{modules: [shell], tags: [t{number}]}}, then: require, require: {{max_hosts: {limit}}}",
    "what: {{modules: [template]}}, if: 'plan.hosts > {limit} + {number}', then: deny",
)
RELIABILITY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {{name: s{number}}}
spec:
  slo_targets: {{availability: {target}%, latency_p95_ms: 150}}
  escalation_chain: [{{notify: 'team:sre', after: 5m}}]
"""


def main(records: int = 1000, rules: int = 200) -> None:
    chance = random.Random(7)  # noqa: S311 - the same records each time, nothing secret
    current, candidate = _pack(rules, 60, 18, "99.9"), _pack(rules, 70, 20, "99.95")
    taken = [_record(chance, number, records, current) for number in range(records)]
    began, busy = time.perf_counter(), time.process_time()
    found = simulate(taken, current, candidate)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    assert found.replayed == records, found.not_replayed[:3]
    assert 0 < len(found.differences) < records
    told = ", ".join(f"{number} {kind.value}" for kind, number in found.counts.items() if number)
    print(f"{records} records of {DAYS} days, {rules} rules: {took:.3f} s, {busy:.3f} s of processor time ({told})")


def _pack(rules: int, limit: int, hour: int, target: str) -> Policies:
    documents = {"policies/calendars.yml": CALENDARS.format(hour=hour)}
    for first in range(0, rules, 10):
        lines = [
            f"    - {{name: r{at}, {RULES[at % len(RULES)].format(number=at % 30, limit=limit)}, reason: because}}"
            for at in range(first, first + 10)
        ]
        head = (
            f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: guard{first}}}\nspec:\n  reason: because\n"
        )
        documents[f"policies/guard{first:04d}.yml"] = head + "  rules:\n" + "\n".join(lines) + "\n"
    for number in range(SERVICES):
        documents[f"policies/s{number}.yml"] = RELIABILITY.format(number=number, target=target)
    files = [ProtectedFile.of(path, text.lstrip("\n").encode()) for path, text in documents.items()]
    return policies_of(snapshot_of("0" * 40, files))


def _record(chance: random.Random, number: int, records: int, current: Policies) -> PlanJudged | GateJudged | SloTaken:
    at = BEGIN + timedelta(days=DAYS) * number / records
    at = at.replace(microsecond=0)
    if number % 20 == 0:
        question = GateQuestion(
            service=f"s{number % SERVICES}", change_class="deploy", asked=at,
            snapshots=(_snapshot(chance, number % SERVICES, at, current),),
        )  # fmt: skip
        return GateJudged(
            id=f"gate-{number}", at=at, service=question.service, change_class="deploy", verdict="pass",
            question=question,
        )  # fmt: skip
    if number % 20 == 1:
        snapshot = _snapshot(chance, number % SERVICES, at, current)
        return SloTaken(id=f"taken-{number}", at=at, service=snapshot.service, snapshot=snapshot)
    subject = _subject(chance)
    kind = RecordKind.REFUSAL if number % 5 == 0 else RecordKind.RUN
    return PlanJudged(
        kind=kind, id=f"run-{number}", at=at, runbook=subject.runbook, hosts=subject.host_count, pattern="all",
        subject=subject,
    )  # fmt: skip


def _subject(chance: random.Random) -> Subject:
    return Subject(
        plan_digest=f"sha256:{chance.getrandbits(256):064x}",
        runbook=f"{chance.choice(['deploy', 'restart', 'drop'])}-{chance.randrange(30)}",
        labels={},
        blast_radius=BlastRadius(),
        host_count=chance.randrange(1, 100),
        inventory_total=100,
        groups=frozenset(f"group{chance.randrange(30)}" for _ in range(3)),
        dirty=False,
        trigger=chance.choice(list(Trigger)),
        tags=frozenset({f"t{chance.randrange(30)}"}),
        modules=frozenset(chance.sample(["raw", "shell", "copy", "template"], 2)),
    )


def _snapshot(chance: random.Random, number: int, at: datetime, current: Policies) -> SloSnapshot:
    policy = current.of_service(f"s{number}")[0]
    bad = Decimal(chance.randrange(0, 200)) / 100_000
    lengths = [length for each in burn_windows(policy) for length in (each.long, each.short)]
    targets = tuple(
        TargetSeen(
            id=each.id, target=each.target, start=at - timedelta(days=30), end=at,
            counted=Counted(bad=bad * 1_000_000, total=Decimal(1_000_000)),
            rates=dict.fromkeys(lengths, bad * chance.randrange(1, 20)), present=True, last_data=at,
        )
        for each in policy.targets
    )  # fmt: skip
    return SloSnapshot(
        policy=policy.metadata.name, service=policy.service, commit=None, digest=policy.source.digest, taken=at,
        targets=targets,
    )  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
