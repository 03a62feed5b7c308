"""Judge 10,000 plans by 200 rules of guardrails, and print how many seconds that took, imports left out.

`guardrails.py [PLANS [RULES]]`. Plans differ in everything a guardrail can ask; rules are of every kind: runbooks,
labels, tags, modules, groups, environments, numbers of hosts, triggers, roles, a freeze, business hours, error budgets,
and one of ten has a condition in CEL besides. The moment is one and the same, as when a change of policies is tried.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from opsascode.policy import BlastRadius, BudgetSeen, Refusal, Subject, Trigger, judge, prepare
from opsascode.repo import ApprovalsAsked, BudgetLevel, Policies, open_repository

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NAMES = ("shell", "command", "copy", "template", "service", "apt", "raw", "user")
MODULES = [f"ansible.builtin.{name}" for name in NAMES]
GROUPS = [f"group{number}" for number in range(30)]
RUNBOOKS = [f"{verb}-{number}" for verb in ("deploy", "restart", "drop", "patch") for number in range(50)]
CALENDARS = """
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: freeze}
spec: {timezone: Europe/Berlin, windows: [{name: now, start: 2026-11-20T18:00, end: 2026-11-22T08:00}]}
---
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: hours}
spec: {timezone: Europe/Berlin, windows: [{name: day, days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}]}
"""


def main(plans: int = 10_000, rules: int = 200) -> None:
    chance = random.Random(7)  # noqa: S311 - the same plans each time, nothing secret
    policies, subjects = _policies(chance, rules), [_subject(chance) for _ in range(plans)]
    began, busy = time.perf_counter(), time.process_time()
    prepared = prepare(policies)
    refused = sum(isinstance(prepared(subject, now=NOW), Refusal) for subject in subjects)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    assert 0 < refused < plans
    few = subjects[:: max(1, plans // 50)]
    assert [type(prepared(each, now=NOW)) for each in few] == [type(judge(policies, each, now=NOW)) for each in few]
    print(f"{plans} plans, {rules} rules, {refused} refused: {took:.3f} s, {busy:.3f} s of processor time")


def _policies(chance: random.Random, rules: int) -> Policies:
    parts = [
        lambda: f"what: {{runbooks: [{chance.choice(['deploy', 'drop', 'patch'])}-{chance.randrange(50)}*]}}",
        lambda: f"what: {{labels: {{tier: t{chance.randrange(9)}}}, tags: [tag{chance.randrange(9)}]}}",
        lambda: f"what: {{modules: [{chance.choice(MODULES)}]}}, where: {{hosts_over: {chance.randrange(50, 99)}}}",
        lambda: f"where: {{groups: [{chance.choice(GROUPS)}], environments: [prod*], percent_over: 60}}",
        lambda: f"who: {{triggers: [alert], roles: [role{chance.randrange(9)}]}}",
        lambda: f"when: {{during: [freeze]}}, where: {{groups: [{chance.choice(GROUPS)}], hosts_over: 90}}",
        lambda: f"when: {{outside: [hours]}}, what: {{runbooks: [drop-{chance.randrange(50)}]}}",
        lambda: f"when: {{budget: {{service: s{chance.randrange(3)}, levels: [exhausted]}}}}, what: {{modules: [raw]}}",
    ]
    lines = []
    for number in range(rules):
        condition = ', if: "plan.hosts > 97 && plan.dirty"' if number % 10 == 0 else ""
        what = chance.choice(["then: deny", "then: allow", "then: require, require: {max_hosts: 60}"])
        lines.append(f"  - {{name: rule{number}, {chance.choice(parts)()}{condition}, {what}, reason: because}}")
    documents = [CALENDARS]
    for first in range(0, rules, 10):
        combine = "first-match" if first % 20 else "deny-overrides"
        head = f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: guard{first}}}\nspec:\n"
        body = "\n".join(lines[first : first + 10])
        documents.append(f"{head} combine: {combine}\n rules:\n{body}\n reason: x\n")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        settings = "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: bench}\nspec: {}\n"
        (place / "opsascode.yml").write_text(settings)
        (place / "policies").mkdir()
        (place / "policies" / "all.yml").write_text("---\n".join(documents))
        return open_repository(place).policies()


def _subject(chance: random.Random) -> Subject:
    return Subject(
        plan_digest=f"sha256:{chance.getrandbits(256):064x}",
        runbook=chance.choice(RUNBOOKS),
        labels={"tier": f"t{chance.randrange(9)}"},
        blast_radius=BlastRadius(),
        host_count=chance.randrange(1, 100),
        inventory_total=100,
        groups=frozenset(chance.sample(GROUPS, chance.randrange(1, 6))),
        dirty=chance.random() < 0.3,
        trigger=chance.choice(list(Trigger)),
        environments=frozenset({chance.choice(["production", "staging"])}),
        tags=frozenset({f"tag{chance.randrange(20)}"}),
        modules=frozenset(chance.sample(MODULES, chance.randrange(1, 4))),
        account="alice",
        roles=frozenset({f"role{chance.randrange(20)}"}),
        approvals=(ApprovalsAsked(required=1),),
        budgets={f"s{number}": _budget(chance) for number in range(3)},
    )


def _budget(chance: random.Random) -> BudgetSeen:
    return BudgetSeen(level=chance.choice(list(BudgetLevel)), consumed=Decimal("0.5"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
