"""Which way does a change lead, and how was that found out? Levels one by one, and what is no way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opsascode.policy import Classification, TransitionClass, classify
from tests.transitions import GROUPS, Branch, guardrail, levels, pack

A, B, BOOK, SETTINGS = "policies/a.yml", "policies/b.yml", "playbooks/restart.yml", "opsascode.yml"


def found(*states: dict[str, str], new: dict[str, str], **candidate: Any) -> Classification:
    branch = Branch.of(*states)
    asking = branch.ask(branch.candidate(new, **candidate))
    return classify(asking.old, asking.new)


def runbook(*steps: str) -> str:
    lines = [
        "apiVersion: opsascode/v1",
        "kind: Runbook",
        "metadata: {name: restart}",
        "spec:",
        "  targets: {hosts: all}",
    ]
    lines += ["  steps:"] + [
        f"    - {{id: {each.split()[0]}, title: {each}, task: {{ansible.builtin.ping: {{}}}}}}" for each in steps
    ]
    return "\n".join([*lines, ""])


def settings_of(inventory: str) -> str:
    return f"apiVersion: opsascode/v1\nkind: Repository\nmetadata: {{name: ours}}\nspec: {{inventory: {inventory}}}\n"


def test_stricter_is_forward() -> None:
    judged = found({A: guardrail(max_hosts=9)}, new={A: guardrail(max_hosts=3), B: guardrail("b")})
    assert judged.classes == {TransitionClass.FORWARD}
    assert judged.findings == ()


def test_one_rule_that_comes_back_is_found() -> None:
    def book(command: str, more: str = "") -> dict[str, str]:
        text = runbook("first", "second").replace("ansible.builtin.ping: {}", f"ansible.builtin.command: {command}", 1)
        return {BOOK: text + more}

    judged = found(book("old"), book("new"), new={BOOK: book("old")[BOOK].replace("second", "third")})
    assert "R4" in levels(judged)
    (finding,) = [each for each in judged.findings if each.level.value == "R4"]
    assert finding.subject.startswith("runbook restart rule ")
    assert " superseded on 2026-11-21" in finding.message


VERSIONS = {
    "higher": ("1.2.0", "1.10.0", False),
    "far higher": ("1.2.0", "7.0.0", False),
    "lower": ("1.10.0", "1.9.9", True),
    "before its release": ("2.0.0", "2.0.0-rc.1", True),
    "the release after its candidates": ("2.0.0-rc.9", "2.0.0", False),
    "a later candidate": ("2.0.0-rc.9", "2.0.0-rc.10", False),
    "the same": ("1.2.0", "1.2.0", True),
    "none": ("1.2.0", None, True),
    "a first one": (None, "1.0.0", False),
}


@pytest.mark.parametrize(("before", "after", "falls"), VERSIONS.values(), ids=VERSIONS)
def test_a_version_does_not_fall(before: str | None, after: str | None, falls: bool) -> None:
    judged = found({A: guardrail(version=before, max_hosts=9)}, new={A: guardrail(version=after, max_hosts=3)})
    assert levels(judged) == (["R6"] if falls else [])


DATES = {
    "later": ("20261014", "20261015", False),
    "the second of a day": ("20261014", "20261014.2", False),
    "the tenth of a day": ("20261014.9", "20261014.10", False),
    "earlier": ("20261014", "20261013.9", True),
    "no date any more": ("20261014", "1.0.0", True),
}


@pytest.mark.parametrize(("before", "after", "falls"), DATES.values(), ids=DATES)
def test_a_date_does_not_go_back(before: str, after: str, falls: bool) -> None:
    judged = found({A: pack(version=before)}, new={A: pack(version=after, enforce="{runbook: push}")})
    assert levels(judged) == (["R6"] if falls else [])


def test_a_version_alone_may_rise_and_not_fall() -> None:
    assert levels(found({A: guardrail(version="1.0.0")}, new={A: guardrail(version="1.1.0")})) == []
    assert levels(found({A: guardrail(version="1.1.0")}, new={A: guardrail(version="1.0.0")})) == ["R6"]


def test_a_document_that_was_deleted_comes_back_with_a_higher_version_only() -> None:
    other = {B: guardrail("b")}
    states = ({A: guardrail(version="1.5.0", max_hosts=9), **other}, other)
    assert levels(found(*states, new={A: guardrail(version="1.4.0", max_hosts=2), **other})) == ["R6"]
    assert levels(found(*states, new={A: guardrail(version="1.5.0", max_hosts=2), **other})) == ["R6"]
    assert levels(found(*states, new={A: guardrail(version="1.6.0", max_hosts=2), **other})) == []


def test_a_document_that_was_deleted_comes_back_as_it_was_and_makes_nothing_less_safe() -> None:
    other = {B: guardrail("b")}
    judged = found({A: guardrail(max_hosts=9), **other}, other, new={A: guardrail(max_hosts=9), **other})
    assert judged.classes == {TransitionClass.FORWARD}
    assert {each.level.value for each in judged.excused} == {"R1", "R2", "R5"}


def test_what_a_machine_cannot_read_is_a_way_back_in_either_direction() -> None:
    broken = "kind: Guardrail\nmetadata: [\n"
    for before, after in ((guardrail(), broken), (broken, guardrail())):
        judged = found({A: before, B: guardrail("b")}, new={A: after, B: guardrail("b")})
        assert TransitionClass.ROLLBACK in judged.classes
        assert "R3" in levels(judged)


def test_a_file_that_only_moves_is_no_way_back() -> None:
    assert levels(found({A: guardrail()}, new={B: guardrail()})) == []


def test_other_bytes_in_an_inventory_are_forward_while_no_host_loses_anything() -> None:
    base = {A: guardrail(), "inventories/lab": "[web]\nweb1\n"}
    new = {**base, "inventories/lab": "[web]\nweb1\nweb2\n"}
    assert levels(found(base, new=new)) == []
    assert levels(found(base, new=new, groups=None)) == ["R8"]
    assert levels(found(base, new={**base, A: guardrail(max_hosts=3)}, groups=None)) == []


def test_another_inventory_is_judged_by_the_groups_of_its_hosts() -> None:
    base = {A: guardrail(scope="groups: [production]"), SETTINGS: settings_of("inventories/a")}
    new = {**base, SETTINGS: settings_of("inventories/b")}
    assert levels(found(base, new=new)) == []
    assert levels(found(base, new=new, groups={**GROUPS, "db1": frozenset({"all"})})) == ["R8"]
    branch = Branch.of(base, groups={})
    asking = branch.ask(branch.candidate(new))
    assert levels(classify(asking.old, asking.new)) == ["R8"]  # no host known: nobody looked


def test_many_hosts_that_lose_one_guardrail_are_one_finding() -> None:
    groups = {f"web{number}": frozenset({"web"}) for number in range(50)}
    branch = Branch.of({A: guardrail(scope="groups: [web]")}, groups=groups)
    asking = branch.ask(
        branch.candidate({A: guardrail(scope="groups: [web]")}, groups=dict.fromkeys(groups, frozenset[str]()))
    )
    judged = classify(asking.old, asking.new)
    (finding,) = judged.findings
    assert finding.message == "guardrail small-steps no longer covers web0, web1, web10 and 47 more"


def test_the_first_time_there_is_nothing_to_give_up() -> None:
    asking = Branch.of({A: guardrail(max_hosts=2)}).ask({A: guardrail(max_hosts=20)})
    judged = classify(replace(asking.old, commit=None), asking.new)
    assert judged.classes == {TransitionClass.FORWARD}
