"""A way back or down is found however it is dressed up, and what only looks like one is let through.

Each begins with a pack to which an honest change is allowed; the numbers are the rows of the list of attacks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.transitions import GROUPS, Branch, codes, guardrail, levels

if TYPE_CHECKING:
    from opsascode.policy import Decision

UNDECLARED = "E_UNDECLARED_ROLLBACK"
RULES = """apiVersion: opsascode/v1
kind: Guardrail
metadata:
  name: {name}
spec:
  applies_to: {{{scope}}}
  require: {{{require}}}
  reason: {reason}
"""


def rule(
    name: str = "deny-drop", scope: str = "groups: [production]", require: str = "max_hosts: 5", reason: str = "so"
) -> str:
    return RULES.format(name=name, scope=scope, require=require, reason=reason)


OTHER = {"policies/other.yml": rule("other", require="max_percent: 10")}
V1 = {"policies/x.yml": guardrail(version="1.0.0", max_hosts=20, clean_tree=True), **OTHER}
V2 = {"policies/x.yml": guardrail(version="1.1.0", max_hosts=5, clean_tree=True), **OTHER}
V3 = {"policies/x.yml": guardrail(version="1.2.0", max_hosts=3, clean_tree=True), **OTHER}
HISTORY = Branch.of(V1, V2, V3)
UNDECLARED_WAYS = {
    "23-exactly what was": (V1, {"R1", "R2", "R5", "R6", "R7"}),
    "23-exactly one file of it": ({**V1, "policies/new.yml": rule("new")}, {"R2", "R5", "R6", "R7"}),
    "23-other white space": ({**V1, "policies/x.yml": V1["policies/x.yml"] + "\n# checked\n"}, {"R3", "R5", "R6", "R7"}),
    "23-a higher version on it": (
        {**V1, "policies/x.yml": guardrail(version="9.0.0", max_hosts=20, clean_tree=True)}, {"R3", "R5", "R7"},
    ),
    "23-the file under another name": (
        {"policies/y.yml": V1["policies/x.yml"], **OTHER}, {"R2", "R5", "R6", "R7"},
    ),
    "23-the document under another name": (
        {"policies/x.yml": guardrail("renamed", version="9.0.0", max_hosts=20, clean_tree=True), **OTHER}, {"R3", "R7", "R8"},
    ),
    "23-one field of it": (
        {**V3, "policies/x.yml": guardrail(version="1.3.0", max_hosts=5, clean_tree=True, max_percent=5)}, {"R5", "R7"},
    ),
    "23-a lower version": ({**V3, "policies/x.yml": guardrail(version="1.1.5", max_hosts=2, clean_tree=True)}, {"R6"}),
    "23-a version that stood for something else": (
        {**V3, "policies/x.yml": guardrail(version="1.2.0", max_hosts=2, clean_tree=True)}, {"R6"},
    ),
    "23-no version any more": ({**V3, "policies/x.yml": guardrail(max_hosts=2, clean_tree=True)}, {"R6"}),
    "23-a document nobody can read": ({**V3, "policies/x.yml": "kind: Guardrail\nspec: [\n"}, {"R3", "R7", "R8"}),
    "24-a value that was never used": (
        {**V3, "policies/x.yml": guardrail(version="1.3.0", max_hosts=17, clean_tree=True)}, {"R7"},
    ),
    "24-a requirement that goes": ({**V3, "policies/x.yml": guardrail(version="1.3.0", max_hosts=3)}, {"R7"}),
    "24-a narrower selector": (
        {**V3, "policies/x.yml": guardrail(version="1.3.0", scope="groups: [web]", max_hosts=3, clean_tree=True)}, {"R7", "R8"},
    ),
    "24-another selector": ({**V3, "policies/other.yml": rule("other", scope="groups: [lab]", require="max_percent: 10")}, {"R7", "R8"}),
    "24-fewer runbooks": (
        {**V3, "policies/x.yml": guardrail(version="1.3.0", scope="runbooks: [a]", max_hosts=3, clean_tree=True)}, {"R7"},
    ),
    "24-a label that is asked for": (
        {**V3, "policies/x.yml": guardrail(version="1.3.0", scope="labels: {a: b}", max_hosts=3, clean_tree=True)}, {"R7"},
    ),
    "24-a document that is deleted": ({"policies/x.yml": V3["policies/x.yml"]}, {"R7", "R8"}),
    "24-a document moved to where no document is read": (
        {"policies/x.yml": V3["policies/x.yml"], "policies/other.txt": OTHER["policies/other.yml"]}, {"R7", "R8"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), UNDECLARED_WAYS.values(), ids=UNDECLARED_WAYS)
def test_a_way_back_or_down_that_nobody_declares(files: dict[str, str], expected: set[str]) -> None:
    forward = HISTORY.ask({**V3, "policies/x.yml": guardrail(version="1.3.0", max_hosts=2, clean_tree=True)})
    assert forward.judge(forward.say("bob")).allowed
    asking = HISTORY.ask(files)
    decision = asking.judge(asking.say("bob"), asking.say("carol"), asking.say("alice"))
    assert not decision.allowed
    assert codes(decision)[0] == UNDECLARED
    assert {*levels(decision.classification)} == expected
    assert all(each.message for each in decision.classification.findings)
    declared = asking.judge(asking.propose("dave"), asking.say("bob"), asking.say("carol"))
    assert declared.allowed


def test_the_evidence_names_level_place_commit_and_date() -> None:
    asking = HISTORY.ask({**V1, "policies/x.yml": guardrail(version="9.0.0", max_hosts=20, clean_tree=True)})
    decision = asking.judge()
    superseding = HISTORY.states[1]
    assert decision.missing.startswith("an undeclared rollback and weakening: ")
    assert (
        f"policies/x.yml guardrail small-steps equals what {superseding.snapshot.commit[:12]} superseded "
        f"on {superseding.when:%Y-%m-%d}" in decision.missing
    )


def inventory_move(after: Any, files: dict[str, str] | None = None) -> Decision:
    base = {**OTHER, "inventories/lab": "[production]\nweb1\n"}
    branch = Branch.of(base)
    new = branch.candidate(files or {**base, "inventories/lab": "[web]\nweb1\n"}, groups=GROUPS)
    fine = replace(branch.ask(new))
    assert fine.judge(fine.say("bob")).allowed
    return replace(fine, new=replace(new, groups=after)).judge(fine.say("bob"))


INVENTORIES = {
    "a host leaves the group": ({**GROUPS, "web1": frozenset({"all", "web"})}, "web1"),
    "the group has another name": (
        {name: groups - {"production"} | {"prod"} for name, groups in GROUPS.items()}, "db1, web1, web2",
    ),
    "nobody can tell": (None, "cannot be told without executing something"),
}  # fmt: skip


@pytest.mark.parametrize(("after", "said"), INVENTORIES.values(), ids=INVENTORIES)
def test_24_an_inventory_is_edited(after: Any, said: str) -> None:
    decision = inventory_move(after)
    assert not decision.allowed
    assert levels(decision.classification) == ["R8"]
    assert said in decision.missing


def test_taking_a_host_out_of_the_inventory_weakens_nothing() -> None:
    decision = inventory_move({name: groups for name, groups in GROUPS.items() if name != "web1"})
    assert levels(decision.classification) == []
    assert [each.host for each in decision.classification.diff.lost if each.gone] == ["web1"]


def test_25_a_revert_of_a_revert_is_a_way_forward_when_nothing_is_less_safe() -> None:
    back = Branch.of(V1, V2, V1)
    again = back.ask(V2)
    decision = again.judge(again.say("bob"))
    assert decision.allowed
    assert levels(decision.classification) == []
    assert {each.level.value for each in decision.classification.excused} == {"R1", "R2", "R5"}
    assert any("makes nothing less safe" in each for each in decision.notes)


def test_25_a_revert_of_a_revert_that_takes_something_away_is_a_rollback() -> None:
    back = Branch.of(V1, {**V1, "policies/x.yml": guardrail(version="2.0.0", max_hosts=5)}, V1)
    again = back.ask({**V1, "policies/x.yml": guardrail(version="2.0.0", max_hosts=5)})
    decision = again.judge(again.say("bob"))
    assert codes(decision)[0] == UNDECLARED
    assert {"R1", "R2", "R7"} <= {*levels(decision.classification)}


def test_25_what_is_no_guardrail_does_not_come_back_unseen() -> None:
    first, second = ({**V1, "inventories/group_vars/all.yml": f"ruleset: {each}\n"} for each in ("old", "new"))
    decision = Branch.of(first, second).ask(first).judge()
    assert codes(decision) == [UNDECLARED]
    assert levels(decision.classification) == ["R1", "R2"]
