"""Which way does a change of a guardrail's rules, or of a calendar, lead?"""

from __future__ import annotations

import pytest

from opsascode.policy import Direction, TransitionClass, classify
from tests.transitions import Branch, levels

PLACE, CALENDAR = "policies/rules.yml", "policies/freeze.yml"
DENY_SHELL = "{name: no-shell, what: {modules: [shell, command]}, then: deny}"
TWO_EYES = "{name: two, where: {groups: [production]}, then: require, require: {approvals: {required: 2, role: sre}}}"
PASS = "{name: fine, who: {triggers: [ci]}, then: allow}"  # noqa: S105 - no password, but a rule


def rules(*rules: str, **spec: str) -> dict[str, str]:
    """A guardrail with these rules, and what else stands in spec."""
    lines = ["apiVersion: opsascode/v1", "kind: Guardrail", "metadata: {name: rules}", "spec:", "  reason: because"]
    lines += [f"  {key}: {value}" for key, value in spec.items()]
    lines += ["  rules:", *(f"    - {each}" for each in rules)] if rules else []
    return {PLACE: "\n".join([*lines, ""])}


def calendar(*windows: str, timezone: str = "Europe/Berlin") -> dict[str, str]:
    lines = ["apiVersion: opsascode/v1", "kind: Calendar", "metadata: {name: freeze}", "spec:"]
    lines += [f"  timezone: {timezone}", "  windows:", *(f"    - {each}" for each in windows)]
    return {CALENDAR: "\n".join([*lines, ""])}


def judged(before: dict[str, str], after: dict[str, str]) -> tuple[list[str], set[str]]:
    """The levels of a change, and the directions of its fields."""
    branch = Branch.of(before)
    asking = branch.ask(branch.candidate(after))
    found = classify(asking.old, asking.new)
    assert (TransitionClass.WEAKENING in found.classes) == ("R7" in levels(found))
    return levels(found), {each.direction.value for each in found.diff.changes}


STRICTER = {
    "a deny rule more": (rules(TWO_EYES), rules(TWO_EYES, DENY_SHELL)),
    "a requirement more": (rules(DENY_SHELL), rules(DENY_SHELL, TWO_EYES)),
    "an allowing rule where all is allowed": (rules(DENY_SHELL), rules(DENY_SHELL, PASS)),
    "an allowing rule less where all is denied": (rules(DENY_SHELL, PASS, default="deny"), rules(DENY_SHELL, default="deny")),
    "denied by default": (rules(DENY_SHELL), rules(DENY_SHELL, default="deny")),
    "the first rules": (rules(require="{max_hosts: 3}"), rules(DENY_SHELL, require="{max_hosts: 3}")),
    "the first rules, of which the first decides": (
        rules(require="{max_hosts: 3}"), rules(PASS, DENY_SHELL, require="{max_hosts: 3}", combine="first-match"),
    ),
    "one module more": (rules(DENY_SHELL), rules(DENY_SHELL.replace("shell, command", "shell, command, raw"))),
    "any module": (rules(DENY_SHELL), rules("{name: no-shell, then: deny}")),
    "no condition any more": (rules("{name: a, if: plan.hosts > 3, then: deny}"), rules("{name: a, then: deny}")),
    "three approvals": (rules(TWO_EYES), rules(TWO_EYES.replace("2", "3"))),
    "predictions only": (rules(TWO_EYES), rules(TWO_EYES.replace("approvals:", "check_only: true, approvals:"))),
    "denied, not required": (
        rules(TWO_EYES), rules("{name: two, where: {groups: [production]}, then: deny}"),
    ),
    "required, not allowed": (
        rules("{name: a, then: allow}"), rules("{name: a, then: require, require: {clean_tree: true}}"),
    ),
    "fewer hosts": (
        rules("{name: a, where: {hosts_over: 5}, then: deny}"), rules("{name: a, where: {hosts_over: 2}, then: deny}"),
    ),
    "another level of the budget": (
        rules("{name: a, when: {budget: {service: s, levels: [exhausted]}}, then: deny}"),
        rules("{name: a, when: {budget: {service: s, levels: [exhausted, no_data]}}, then: deny}"),
    ),
    "another order, where order decides nothing": (rules(DENY_SHELL, TWO_EYES), rules(TWO_EYES, DENY_SHELL)),
    "another reason": (rules(DENY_SHELL), rules(DENY_SHELL.replace("then", "reason: a new one, then"))),
}  # fmt: skip

WEAKER = {
    "a deny rule less": (rules(TWO_EYES, DENY_SHELL), rules(TWO_EYES)),
    "a requirement less": (rules(DENY_SHELL, TWO_EYES), rules(DENY_SHELL)),
    "an allowing rule where all is denied": (rules(DENY_SHELL, default="deny"), rules(DENY_SHELL, PASS, default="deny")),
    "a requirement that lets pass what was denied": (
        rules(DENY_SHELL, default="deny"), rules(DENY_SHELL, TWO_EYES, default="deny"),
    ),
    "allowed by default": (rules(DENY_SHELL, default="deny"), rules(DENY_SHELL)),
    "one module less": (rules(DENY_SHELL), rules(DENY_SHELL.replace("shell, command", "shell"))),
    "only one group": (rules(DENY_SHELL), rules(DENY_SHELL.replace("then", "where: {groups: [web]}, then"))),
    "a condition": (rules(DENY_SHELL), rules(DENY_SHELL.replace("then", "if: plan.hosts > 3, then"))),
    "another condition": (
        rules("{name: a, if: plan.hosts > 3, then: deny}"), rules("{name: a, if: plan.hosts > 2, then: deny}"),
    ),
    "only during a window": (rules(DENY_SHELL), rules(DENY_SHELL.replace("then", "when: {during: [xmas]}, then"))),
    "another calendar": (
        rules("{name: a, when: {during: [x]}, then: deny}"), rules("{name: a, when: {during: [y]}, then: deny}"),
    ),
    "outside of more windows": (
        rules("{name: a, when: {outside: [x]}, then: deny}"), rules("{name: a, when: {outside: [x, y]}, then: deny}"),
    ),
    "one approval": (rules(TWO_EYES), rules(TWO_EYES.replace("2", "1"))),
    "another role": (rules(TWO_EYES), rules(TWO_EYES.replace("sre", "dev"))),
    "any role": (rules(TWO_EYES), rules(TWO_EYES.replace(", role: sre", ""))),
    "required, not denied": (
        rules("{name: a, then: deny}"), rules("{name: a, then: require, require: {clean_tree: true}}"),
    ),
    "allowed, not denied": (rules(DENY_SHELL), rules(DENY_SHELL.replace("deny", "allow"))),
    "the first rule decides": (rules(DENY_SHELL, TWO_EYES), rules(DENY_SHELL, TWO_EYES, combine="first-match")),
    "another order, where the first decides": (
        rules(PASS, DENY_SHELL, combine="first-match"), rules(DENY_SHELL, PASS, combine="first-match"),
    ),
    "a deny rule more, where the first decides": (
        rules(PASS, combine="first-match"), rules(PASS, DENY_SHELL, combine="first-match"),
    ),
    "no rules any more": (rules(DENY_SHELL, require="{max_hosts: 3}"), rules(require="{max_hosts: 3}")),
    "an allowing rule that allows less, where all is denied": (
        rules(PASS, default="deny"), rules(PASS.replace("ci", "manual"), default="deny"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), STRICTER.values(), ids=STRICTER)
def test_what_refuses_no_less_is_forward(before: dict[str, str], after: dict[str, str]) -> None:
    found, directions = judged(before, after)
    assert found == []
    assert directions <= {Direction.STRICTER.value, Direction.NEUTRAL.value}


@pytest.mark.parametrize(("before", "after"), WEAKER.values(), ids=WEAKER)
def test_what_may_refuse_less_is_a_weakening(before: dict[str, str], after: dict[str, str]) -> None:
    found, directions = judged(before, after)
    assert "R7" in found
    assert directions & {Direction.LOOSER.value, Direction.UNCLEAR.value}


@pytest.mark.parametrize(("before", "after"), STRICTER.values(), ids=STRICTER)
def test_the_way_back_of_what_is_stricter_is_never_stricter(before: dict[str, str], after: dict[str, str]) -> None:
    _, directions = judged(after, before)
    assert Direction.STRICTER.value not in directions


XMAS = '{name: xmas, start: "2026-12-20T18:00", end: "2027-01-04T06:00", reason: quiet}'
NIGHT = '{name: night, days: [mon, tue], from: "22:00", to: "06:00"}'
CALENDARS = {
    "a shorter freeze": (calendar(XMAS), calendar(XMAS.replace("01-04", "01-02"))),
    "a longer one, as it may be when changes are allowed": (calendar(XMAS), calendar(XMAS.replace("01-04", "01-06"))),
    "a window less": (calendar(XMAS, NIGHT), calendar(XMAS)),
    "a window more": (calendar(XMAS), calendar(XMAS, NIGHT)),
    "a day less": (calendar(NIGHT), calendar(NIGHT.replace("mon, ", ""))),
    "another zone": (calendar(XMAS), calendar(XMAS, timezone="America/New_York")),
    "not repeated any more": (
        calendar(XMAS.replace("reason", 'rrule: "FREQ=YEARLY", reason')), calendar(XMAS),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), CALENDARS.values(), ids=CALENDARS)
def test_any_other_time_in_a_calendar_may_be_a_weakening(before: dict[str, str], after: dict[str, str]) -> None:
    assert "R7" in judged(before, after)[0]


def test_a_new_calendar_and_another_reason_in_one_are_forward() -> None:
    other = rules(DENY_SHELL)
    assert judged(other, {**other, **calendar(XMAS)}) == ([], set())
    assert judged(calendar(XMAS), calendar(XMAS.replace("quiet", "nobody is there"))) == ([], set())
    assert judged(calendar(XMAS, NIGHT), calendar(NIGHT, XMAS)) == ([], set())


def test_a_calendar_that_goes_away_is_a_weakening() -> None:
    other = rules(DENY_SHELL)
    assert judged({**other, **calendar(XMAS)}, other)[0] == ["R7"]


def test_a_rule_that_comes_back_is_known_again() -> None:
    states = rules(DENY_SHELL, TWO_EYES), rules(DENY_SHELL)
    branch = Branch.of(*states)
    asking = branch.ask(branch.candidate(rules(TWO_EYES, default="deny")))
    assert "R4" in levels(classify(asking.old, asking.new))
