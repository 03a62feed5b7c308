"""Policies that are valid one by one are held together: what cannot work is said, and nothing that might be meant."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import dedent, indent
from typing import TYPE_CHECKING

import pytest

from opsascode.policy import lint
from opsascode.repo import People, Person, Policies, Problem, Severity, check_repository, open_repository, whole_of

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

RUNBOOK = """
apiVersion: opsascode/v1
kind: Runbook
metadata: {{name: {name}, title: Do {name}, version: 1.0.0, labels: {labels}}}
spec:
  targets: {{hosts: web}}
{more}
  steps:
{steps}
"""
STEP = "- {id: one, title: One, task: {ansible.builtin.command: echo one}}"
CHECK = "- {id: look, title: Look, check: {that: ['true']}}"
UNDO = """
- id: one
  title: One
  task: {ansible.builtin.command: echo one}
  undo: {task: {ansible.builtin.command: echo back}}
"""


class Shelf:
    """An ops repository to write documents into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "policies").mkdir()
        (root / "playbooks").mkdir()
        self.count = 0

    def runbook(self, name: str, steps: str = CHECK, labels: str = "{}", more: str = "") -> None:
        text = RUNBOOK.format(
            name=name, labels=labels, steps=indent(dedent(steps).strip("\n"), "    "), more=indent(dedent(more), "  ")
        )
        (self.root / f"playbooks/{name}.yml").write_text(text, encoding="utf-8")

    def guardrail(self, rules: str, spec: str = "", name: str = "guard") -> None:
        body = f"rules:\n{indent(dedent(rules).strip(), '  ')}\n" if rules else ""
        self.write("Guardrail", name, f"{dedent(spec)}\n{body}reason: Because.")

    def reliability(self, spec: str = "", name: str = "shop", targets: str = "{availability: 99.95%}") -> None:
        chain = "" if "escalation_chain" in spec else "escalation_chain: [{notify: team:sre}]"
        self.write("ReliabilityPolicy", name, f"slo_targets: {targets}\n{chain}\n{dedent(spec)}")

    def write(self, kind: str, name: str, spec: str) -> None:
        self.count += 1
        head = f"apiVersion: opsascode/v1\nkind: {kind}\nmetadata: {{name: {name}, title: {name}}}\nspec:\n"
        text = head + indent(dedent(spec).strip("\n"), "  ") + "\n"
        (self.root / f"policies/{self.count:02}-{name}.yml").write_text(text, encoding="utf-8")

    def found(self, people: People | None = None, now: datetime = NOW) -> tuple[Problem, ...]:
        repository = open_repository(self.root)
        assert check_repository(repository).problems == ()
        whole = whole_of(repository)
        return lint(whole.policies, whole.runbooks, people, now=now)

    def codes(self, people: People | None = None) -> list[str]:
        return [each.code for each in self.found(people)]

    def only(self, people: People | None = None) -> Problem:
        (problem,) = self.found(people)
        return problem


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        lint(Policies(), (), None, now=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


# 1: alerts that can never fire


def test_an_alert_whose_threshold_is_above_all_events_can_never_fire(shelf: Shelf) -> None:
    shelf.reliability(targets="{availability: 90%}")
    problem = shelf.only()
    assert problem.code == "alert-never-fires"
    assert problem.severity is Severity.WARNING
    assert problem.position.line == 5
    assert "the page alert over 1h and 5m" in problem.message
    assert "a burn of 14.4 on a budget of 10% needs 144% bad events" in problem.message
    assert "promise 93.0556% or more" in problem.mend
    assert "a long window of 1h27m or more" in problem.mend


def test_the_mend_of_an_alert_mends_it_and_a_little_less_does_not(shelf: Shelf, tmp_path: Path) -> None:
    shelf.reliability(targets="{availability: 93.0556%}")
    assert shelf.codes() == []
    less = Shelf(_folder(tmp_path, "less"))
    less.reliability(targets="{availability: 93.05555%}")
    assert less.codes() == ["alert-never-fires"]


def test_a_threshold_just_below_all_events_is_possible(shelf: Shelf) -> None:
    shelf.reliability(targets="{availability: 95%}")  # 72 % and 30 %
    assert shelf.codes() == []


# 2: resolution targets that burn a whole budget

LEVELS = """
levels:
  - {rank: 0, label: P0, impact: 100%, resolve_within: %s}
  - {rank: 3, label: P3, impact: 1%%, resolve_within: 1d}
"""


def test_one_incident_that_burns_the_whole_budget_is_told_with_figures(shelf: Shelf) -> None:
    shelf.reliability()
    shelf.write("SeverityScheme", "ops", LEVELS.replace("%%", "%").replace("%s", "1h"))
    problem = shelf.only()
    assert problem.code == "resolution-burns-budget"
    assert problem.severity is Severity.WARNING
    assert "one P0 incident that is resolved in time (100% of requests for 1h) burns 277.7778%" in problem.message
    assert "«availability» in shop, which is 21m36s in 30d" in problem.message


def test_an_incident_within_the_budget_is_fine_and_exactly_all_of_it_too(shelf: Shelf) -> None:
    shelf.reliability()
    shelf.write("SeverityScheme", "ops", LEVELS.replace("%%", "%").replace("%s", "1296s"))
    assert shelf.codes() == []


def test_slices_are_burnt_as_a_whole_or_not_at_all(shelf: Shelf) -> None:
    shelf.reliability("method: {slices: 1m, target: 95%}", targets="{availability: 99.9%}")
    levels = "levels: [{rank: 1, label: P1, impact: 6%, resolve_within: 1h}, {rank: 2, label: P2, impact: 5%, resolve_within: 9h}]"
    shelf.write("SeverityScheme", "ops", levels)
    problem = shelf.only()
    assert "one P1 incident" in problem.message
    assert "burns 138.8889%" in problem.message


def test_a_slow_request_is_no_failed_one(shelf: Shelf) -> None:
    shelf.reliability(targets="{latency_p99_ms: 100}")
    shelf.write("SeverityScheme", "ops", LEVELS.replace("%%", "%").replace("%s", "30d"))
    assert shelf.codes() == []


def test_in_a_calendar_window_the_longest_month_counts(shelf: Shelf) -> None:
    shelf.reliability("window: {calendar: month}", targets="{availability: 99.9%}")
    shelf.write(
        "SeverityScheme", "ops", LEVELS.replace("%%", "%").replace("%s", "2678s")
    )  # 0.1 % of 31 days is 2678.4 s
    assert shelf.codes() == []


# 3: shadowed rules and guardrails


def test_under_first_match_a_rule_behind_a_wider_one_never_decides(shelf: Shelf) -> None:
    shelf.guardrail(
        """
        - {name: ci-may, who: {triggers: [ci, alert]}, then: allow, reason: a}
        - {name: no-ci-on-web, who: {triggers: [ci]}, where: {groups: [web]}, then: deny, reason: b}
        """,
        "combine: first-match",
    )
    problem = shelf.only()
    assert problem.code == "rule-shadowed"
    assert "«no-ci-on-web» never decides: whatever it matches, «ci-may» in line 7 matches first" in problem.message
    assert (problem.position.line, problem.severity) == (8, Severity.WARNING)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("what: {runbooks: [disk-*]}", "what: {runbooks: ['*']}"),
        ("where: {groups: [web]}", "where: {groups: [web, db]}"),
        ("what: {modules: [shell]}", "what: {modules: [ansible.builtin.shell]}"),
        ("what: {tags: [risky]}", "what: {tags: [risky]}"),  # content nobody can look into does not end the search
        ("where: {hosts_over: 10}", "where: {hosts_over: 5}"),
        ("who: {triggers: [ci]}", "who: {roles: [sre]}"),
    ],
)
def test_what_is_not_certainly_shadowed_is_not_said(shelf: Shelf, first: str, second: str) -> None:
    shelf.guardrail(
        f"- {{name: a, {first}, then: allow, reason: a}}\n- {{name: b, {second}, then: deny, reason: b}}",
        "combine: first-match",
    )
    assert shelf.codes() == []


def test_an_allow_under_a_wider_deny_of_another_guardrail_is_overruled(shelf: Shelf) -> None:
    shelf.guardrail("- {name: may, what: {runbooks: [disk-a]}, then: allow, reason: a}", "default: deny", name="one")
    shelf.guardrail("- {name: never, what: {runbooks: ['disk-*']}, then: deny, reason: b}", name="two")
    problem = shelf.only()
    assert problem.code == "rule-shadowed"
    assert "«never» of two (policies/02-two.yml:6) denies" in problem.message


def test_an_allow_changes_nothing_where_everything_is_allowed(shelf: Shelf) -> None:
    shelf.guardrail("- {name: may, who: {triggers: [ci]}, then: allow, reason: a}")
    problem = shelf.only()
    assert "allows what is allowed anyway" in problem.message
    assert "first-match or default: deny" in problem.mend


def test_a_guardrail_that_asks_less_than_a_wider_one_is_shadowed(shelf: Shelf) -> None:
    shelf.guardrail("", "require: {max_hosts: 5, triggers: [ci]}", name="wide")
    shelf.guardrail("", "applies_to: {groups: [db]}\nrequire: {max_hosts: 20, triggers: [ci, manual]}", name="narrow")
    problem = shelf.only()
    assert problem.code == "guardrail-shadowed"
    assert "narrow asks for nothing that wide" in problem.message


def test_of_two_that_say_the_same_only_the_later_one_is_too_much(shelf: Shelf) -> None:
    shelf.guardrail("", "require: {clean_tree: true}", name="one")
    shelf.guardrail("", "require: {clean_tree: true}", name="two")
    assert "the guardrail two " in shelf.only().message


# 4: unreachable rules


def test_during_and_outside_of_one_calendar_is_an_error(shelf: Shelf) -> None:
    shelf.write(
        "Calendar", "night", "{timezone: UTC, windows: [{name: n, days: [mon], from: '01:00', to: '02:00', reason: x}]}"
    )
    shelf.guardrail("- {name: never, when: {during: [night], outside: [night]}, then: deny, reason: a}")
    problem = shelf.only()
    assert (problem.code, problem.severity) == ("rule-unreachable", Severity.ERROR)
    assert "during and outside «night»" in problem.message


def test_a_rule_about_a_freeze_that_is_over_never_matches_again(shelf: Shelf) -> None:
    window = "{name: xmas, start: '2025-12-20T00:00', end: '2026-01-06T00:00', reason: x}"
    shelf.write("Calendar", "freeze", f"{{timezone: Europe/Berlin, windows: [{window}]}}")
    shelf.guardrail("- {name: frozen, when: {during: [freeze]}, then: deny, reason: a}")
    problem = shelf.only()
    assert problem.severity is Severity.WARNING
    assert "every window of freeze is over" in problem.message


def test_a_rule_that_matches_no_runbook_says_which_name_was_meant(shelf: Shelf) -> None:
    shelf.runbook("disk-cleanup")
    shelf.guardrail("- {name: r, what: {runbooks: [disk-cleenup]}, then: deny, reason: a}")
    problem = shelf.only()
    assert problem.code == "rule-unreachable"
    assert "there is no runbook «disk-cleenup»; did you mean «disk-cleanup»?" in problem.message


def test_one_mistyped_name_among_others_is_told_a_pattern_is_not(shelf: Shelf) -> None:
    shelf.runbook("disk-cleanup")
    shelf.guardrail(
        "- {name: r, what: {runbooks: [disk-cleanup, cash-clear, 'cache-*']}, who: {triggers: [ci]}, then: deny, reason: a}"
    )
    problem = shelf.only()
    assert problem.code == "unknown-runbook"
    assert "names «cash-clear»" in problem.message


def test_a_label_that_no_runbook_has(shelf: Shelf) -> None:
    shelf.runbook("a", labels="{tier: gold}")
    shelf.guardrail("- {name: r, what: {labels: {tier: golden}}, then: deny, reason: a}")
    assert "no runbook has the label tier: «golden»; did you mean «gold»?" in shelf.only().message


def test_a_rule_that_the_scope_excludes(shelf: Shelf) -> None:
    shelf.runbook("disk-a")
    shelf.runbook("cache-b")
    shelf.guardrail(
        "- {name: r, what: {runbooks: ['cache-*']}, then: deny, reason: a}", "applies_to: {runbooks: ['disk-*']}"
    )
    assert "applies_to of guard excludes all it is about: cache-b" in shelf.only().message


def test_a_repository_without_runbooks_is_not_told_that_it_has_none(shelf: Shelf) -> None:
    shelf.guardrail("- {name: r, what: {runbooks: [disk-a]}, then: deny, reason: a}")
    assert shelf.codes() == []


def test_a_rule_whose_plans_are_refused_anyway_makes_no_difference(shelf: Shelf) -> None:
    shelf.guardrail(
        """
        - {name: manual, who: {triggers: [manual]}, then: deny, reason: a}
        - {name: many, where: {hosts_over: 50}, then: deny, reason: a}
        """,
        "require: {triggers: [ci], max_hosts: 20}",
    )
    assert [each.message.partition(":")[0] for each in shelf.found()] == [
        "the rule «manual» makes no difference",
        "the rule «many» makes no difference",
    ]


# 5: windows and the clock


def _calendar(shelf: Shelf, window: str, zone: str = "Europe/Berlin") -> None:
    shelf.write("Calendar", "nights", f"{{timezone: {zone}, windows: [{window}]}}")


def test_a_nightly_window_meets_both_clock_changes(shelf: Shelf) -> None:
    _calendar(shelf, "{name: night, start: '2026-01-01T02:30', duration: 3h, rrule: FREQ=DAILY, reason: x}")
    gap, fold = shelf.found()
    assert {gap.code, fold.code} == {"window-clock-change"}
    assert gap.message == (
        "on 2027-03-28 the clock in Europe/Berlin goes from 02:00 to 03:00, and the window «night» starts at 02:30, "
        "which does not come; it starts at 03:30 then"
    )
    assert fold.message == (
        "on 2027-10-31 the clock in Europe/Berlin goes from 03:00 back to 02:00, and the window «night» starts at "
        "02:30, which comes twice; the first counts"
    )
    assert "02:00 or earlier, or 03:00 or later" in gap.mend
    assert gap.severity is Severity.WARNING


@pytest.mark.parametrize(
    "window",
    [
        "{name: n, start: '2026-01-01T02:00', end: '2026-01-01T01:00', days: [sun]}",
        "{name: n, days: [sun], from: '03:00', to: '23:00', reason: x}",
        "{name: n, days: [mon, tue], from: '02:30', to: '05:00', reason: x}",
        "{name: n, start: '2027-03-27T02:30', end: '2027-03-27T05:00', reason: x}",
        "{name: n, start: '2029-03-25T02:30', end: '2029-03-25T05:00', reason: x}",
    ][1:],
)
def test_windows_that_meet_no_clock_change_are_not_told(shelf: Shelf, window: str) -> None:
    _calendar(shelf, window)
    assert shelf.codes() == []


def test_a_single_freeze_that_ends_in_the_gap(shelf: Shelf) -> None:
    _calendar(shelf, "{name: move, start: '2027-03-26T18:00', end: '2027-03-28T02:15', reason: x}")
    assert "«move» ends at 02:15, which does not come; it ends at 03:15 then" in shelf.only().message


def test_a_window_that_begins_with_the_gap_is_the_same_moment_both_ways(shelf: Shelf) -> None:
    _calendar(shelf, "{name: n, start: '2027-03-28T02:00', end: '2027-03-28T09:00', reason: x}")
    assert shelf.codes() == []


def test_half_an_hour_of_lord_howe(shelf: Shelf) -> None:
    _calendar(shelf, "{name: n, start: '2027-04-04T01:45', end: '2027-04-04T09:00', reason: x}", "Australia/Lord_Howe")
    assert "goes from 02:00 back to 01:30" in shelf.only().message


# 6: remediation without check or undo

REMEDY = "remediation: [{name: fix, on: [page], runbook: heal}]"


def test_a_remediation_that_does_not_look_and_cannot_be_taken_back(shelf: Shelf) -> None:
    shelf.runbook("heal", STEP)
    shelf.reliability(REMEDY)
    found = shelf.found()
    assert [each.code for each in found] == ["remediation-without-check", "remediation-without-undo"]
    assert "«fix» of shop starts «heal» (playbooks/heal.yml:2), which has no check" in found[0].message


def test_a_remediation_with_check_and_undo_is_fine_and_one_that_changes_nothing_needs_no_undo(shelf: Shelf) -> None:
    shelf.runbook("heal", UNDO + CHECK)
    shelf.runbook("look", CHECK)
    shelf.reliability("remediation: [{name: fix, on: [page], runbook: heal}, {name: see, on: [page], runbook: look}]")
    assert shelf.codes() == []


def test_the_check_may_be_in_a_runbook_that_it_composes(shelf: Shelf) -> None:
    shelf.runbook("heal", UNDO + "- {id: after, title: After, runbook: look}")
    shelf.runbook("look", CHECK)
    shelf.reliability(REMEDY)
    assert shelf.codes() == []


def test_a_runbook_of_the_escalation_chain_is_looked_at_too(shelf: Shelf) -> None:
    shelf.runbook("heal", UNDO)
    shelf.reliability("escalation_chain: [{notify: team:sre}, {trigger: runbook:heal}]")
    assert "the escalation chain of shop starts «heal»" in shelf.only().message


# 7: escalation chains


def _people(**roles: tuple[str, ...]) -> People:
    persons = tuple(Person(id=name, name=name.title(), roles=held) for name, held in roles.items())
    return People(persons=persons, version=1, digest="sha256:0")


def test_a_chain_that_tells_nobody(shelf: Shelf) -> None:
    shelf.reliability("escalation_chain: [{trigger: auto_remediate}]")
    problem = shelf.only()
    assert problem.code == "escalation-names-nobody"
    assert "tells nobody" in problem.message


def test_without_a_trust_root_every_name_may_be_somebody(shelf: Shelf) -> None:
    shelf.reliability("escalation_chain: [{notify: team:sre}, {notify: person:ada}, {notify: sre@workspace}]")
    assert shelf.codes() == []


def test_with_a_trust_root_persons_and_teams_must_be_there(shelf: Shelf) -> None:
    shelf.reliability(
        "escalation_chain: [{notify: team:sre}, {notify: team:dba}, {notify: person:ada}, {notify: person:eve}, {notify: sre@workspace}]"
    )
    found = shelf.found(_people(ada=("sre",), bob=()))
    assert [each.message.split(":")[1].split("»")[0] for each in found] == ["dba", "eve"]


# 8: severities


def test_one_word_for_two_ranks_is_an_error_whatever_its_case(shelf: Shelf) -> None:
    shelf.write(
        "SeverityScheme",
        "ops",
        "levels: [{rank: 0, label: P0, aliases: [Critical]}, {rank: 1, label: P1, aliases: [critical]}]",
    )
    codes = [(each.code, each.severity) for each in _lint_only(shelf)]
    assert ("severity-alias-collision", Severity.ERROR) in codes


def test_across_schemes_it_is_a_warning_and_the_same_rank_is_none(shelf: Shelf) -> None:
    shelf.write("SeverityScheme", "ops", "levels: [{rank: 0, label: P0, aliases: [critical]}]")
    shelf.write("SeverityScheme", "sec", "levels: [{rank: 0, label: p0}, {rank: 1, label: S1, aliases: [CRITICAL]}]")
    problem = shelf.only()
    assert problem.severity is Severity.WARNING
    assert "«CRITICAL» means rank 1 here and «critical» rank 0 in the scheme ops" in problem.message


def _lint_only(shelf: Shelf) -> tuple[Problem, ...]:
    repository = open_repository(shelf.root)
    found = check_repository(repository).problems
    whole = whole_of(repository)
    return (*found, *lint(whole.policies, whole.runbooks, None, now=NOW))


# 9: runbooks out of reach


def test_a_runbook_that_every_trigger_is_refused_for(shelf: Shelf) -> None:
    shelf.runbook("old")
    shelf.runbook("new")
    shelf.guardrail("", "applies_to: {runbooks: [old]}\nrequire: {triggers: [manual]}", name="hands")
    shelf.guardrail("- {name: retired, what: {runbooks: ['o*']}, who: {triggers: [manual]}, then: deny, reason: a}")
    problem = shelf.only()
    assert problem.code == "runbook-out-of-reach"
    assert problem.position.path == "playbooks/old.yml"
    assert "manual by «retired» of guard" in problem.message
    assert "ci by hands" in problem.message


@pytest.mark.parametrize(
    "rule",
    [
        "{name: r, what: {runbooks: [old]}, if: plan.hosts > 1, then: deny, reason: a}",
        "{name: r, what: {runbooks: [old]}, where: {groups: [db]}, then: deny, reason: a}",
        "{name: r, what: {runbooks: [old], tags: [t]}, then: deny, reason: a}",
        "{name: r, what: {runbooks: [old]}, who: {triggers: [ci, alert]}, then: deny, reason: a}",
    ],
)
def test_a_runbook_that_may_pass_is_in_reach(shelf: Shelf, rule: str) -> None:
    shelf.runbook("old")
    shelf.guardrail(f"- {rule}")
    assert shelf.codes() == []


def test_what_no_rule_allows_is_out_of_reach_under_a_default_that_denies(shelf: Shelf) -> None:
    shelf.runbook("old")
    shelf.runbook("new")
    shelf.guardrail(
        "- {name: may, what: {runbooks: [new]}, who: {triggers: [ci]}, then: allow, reason: a}", "default: deny"
    )
    assert [each.position.path for each in shelf.found()] == ["playbooks/old.yml"]


def test_more_approvals_than_people_who_could_give_them(shelf: Shelf) -> None:
    shelf.runbook("careful", more="approval: {required: 2}")
    shelf.guardrail("", "require: {approvals: {required: 1, role: dba}}")
    found = shelf.found(_people(ada=("sre",)))
    assert [each.code for each in found] == ["approval-out-of-reach"] * 2
    assert "the start of careful asks for 2 approvals" in found[0].message
    assert shelf.found() == ()


def _folder(tmp_path: Path, name: str) -> Path:
    place = tmp_path / name
    place.mkdir()
    return place
