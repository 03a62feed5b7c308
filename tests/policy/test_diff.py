"""What is different between two packs: each field with its direction, documents, files, and hosts that lose a guardrail."""

from __future__ import annotations

import time
from typing import Any

import pytest

from opsascode.policy import Direction, PackDiff, diff_packs, effects_of
from tests.transitions import GROUPS, guardrail, pack, snapshot

A = "policies/a.yml"
STRICTER, LOOSER, NEUTRAL, UNCLEAR = Direction.STRICTER, Direction.LOOSER, Direction.NEUTRAL, Direction.UNCLEAR


def diff(before: str | dict[str, str], after: str | dict[str, str], groups: Any = None) -> PackDiff:
    old, new = (each if isinstance(each, dict) else {A: each} for each in (before, after))
    return diff_packs(snapshot(old), snapshot(new), groups=groups)


FIELDS = {
    "fewer hosts": (guardrail(max_hosts=9), guardrail(max_hosts=8), STRICTER),
    "more hosts": (guardrail(max_hosts=8), guardrail(max_hosts=9), LOOSER),
    "a smaller share, written otherwise": (guardrail(max_percent=25), guardrail(max_percent="'12.5%'"), STRICTER),
    "a larger share, written otherwise": (guardrail(max_percent="'25%'"), guardrail(max_percent=25.5), LOOSER),
    "a limit where there was none": (guardrail(clean_tree=True), guardrail(clean_tree=True, max_hosts=9), STRICTER),
    "no limit where there was one": (guardrail(clean_tree=True, max_hosts=9), guardrail(clean_tree=True), LOOSER),
    "a clean tree is asked for": (guardrail(max_hosts=9), guardrail(max_hosts=9, clean_tree=True), STRICTER),
    "a clean tree is not asked for": (guardrail(max_hosts=9, clean_tree=True), guardrail(max_hosts=9), LOOSER),
    "fewer ways to start": (guardrail(triggers="[ci, manual]"), guardrail(triggers="[ci]"), STRICTER),
    "more ways to start": (guardrail(triggers="[ci]"), guardrail(triggers="[ci, manual]"), LOOSER),
    "another way to start": (guardrail(triggers="[ci]"), guardrail(triggers="[manual]"), UNCLEAR),
    "more groups": (guardrail(scope="groups: [a]"), guardrail(scope="groups: [a, b]"), STRICTER),
    "fewer groups": (guardrail(scope="groups: [a, b]"), guardrail(scope="groups: [b]"), LOOSER),
    "all groups": (guardrail(scope="groups: [a]"), guardrail(), STRICTER),
    "not all groups": (guardrail(), guardrail(scope="groups: [a]"), LOOSER),
    "fewer labels asked for": (guardrail(scope="labels: {a: b, c: d}"), guardrail(scope="labels: {a: b}"), STRICTER),
    "more labels asked for": (guardrail(scope="labels: {a: b}"), guardrail(scope="labels: {a: b, c: d}"), LOOSER),
    "another label asked for": (guardrail(scope="labels: {a: b}"), guardrail(scope="labels: {a: d}"), UNCLEAR),
    "no lock on a rollback": (pack(on_policy_rollback="lock"), pack(on_policy_rollback="none"), LOOSER),
    "a lock on a rollback": (pack(on_policy_rollback="none"), pack(), STRICTER),
    "another runbook enforces": (pack(enforce="{runbook: push}"), pack(enforce="{runbook: nothing}"), UNCLEAR),
    "no runbook enforces": (pack(enforce="{runbook: push}"), pack(), LOOSER),
    "a runbook enforces": (pack(), pack(enforce="{runbook: push}"), STRICTER),
    "it enforces on fewer hosts": (
        pack(enforce="{runbook: push}"),
        pack(enforce="{runbook: push, limit: 'edge[0]'}"),
        LOOSER,
    ),
}


@pytest.mark.parametrize(("before", "after", "direction"), FIELDS.values(), ids=FIELDS)
def test_a_field_leads_one_way(before: str, after: str, direction: Direction) -> None:
    found = diff(before, after)
    assert [each.direction for each in found.changes] == [direction]
    assert (found.added, found.removed) == ((), ())


def test_a_change_says_where_what_and_from_what_to_what() -> None:
    (change,) = diff(guardrail(max_percent="'12.5%'"), guardrail(max_percent=25)).changes
    assert (change.file, change.document, change.field) == (A, "guardrail small-steps", "spec.require.max_percent")
    assert (float(str(change.before)), float(str(change.after))) == (12.5, 25)


def test_what_means_the_same_is_no_change_but_of_the_file() -> None:
    found = diff(guardrail(max_percent=25), "# reviewed\n" + guardrail(max_percent="25%", version="2.0.0"))
    assert found.changes == ()
    assert [each.path for each in found.files] == [A]


def test_nothing_is_different_between_a_pack_and_itself() -> None:
    assert diff(guardrail(), guardrail()) == PackDiff()


def test_documents_come_go_and_move() -> None:
    one, two = guardrail("one"), guardrail("two", max_hosts=3)
    found = diff({A: one}, {"policies/b.yml": f"{one}---\n{two}"})
    assert (found.added, found.removed, found.changes) == (("guardrail two",), (), ())
    assert diff({A: f"{one}---\n{two}"}, {A: one}).removed == ("guardrail two",)


def test_a_guardrail_under_another_name_is_the_same_guardrail() -> None:
    found = diff(guardrail("one"), guardrail("two"))
    assert (found.added, found.removed) == ((), ())
    assert [(each.field, each.before, each.after, each.direction) for each in found.changes] == [
        ("metadata.name", "one", "two", NEUTRAL)
    ]
    changed = diff(guardrail("one"), guardrail("two", max_hosts=1))
    assert (changed.added, changed.removed) == (("guardrail two",), ("guardrail one",))


def test_a_first_pack_document_is_compared_with_what_held_without_one() -> None:
    for written, direction in ((pack(), []), (pack(on_policy_rollback="none"), [LOOSER])):
        assert [each.direction for each in diff({}, {A: written}).changes] == direction
    limited = diff({}, {A: pack(enforce="{runbook: push, limit: edge}")})
    assert {each.direction for each in limited.changes} == {STRICTER, NEUTRAL}


def test_what_cannot_be_read_is_said() -> None:
    for text in ("kind: [", guardrail() + "  extra: true\n", guardrail() + "---\n" + guardrail(max_hosts=1)):
        found = diff(guardrail(), text)
        assert [path for path, _ in found.unreadable] == [A]


def losses(found: PackDiff) -> list[tuple[str, str, bool]]:
    return [(each.host, each.guardrail, each.gone) for each in found.lost]


def test_hosts_lose_a_guardrail_by_selector_deletion_name_and_inventory() -> None:
    production = guardrail(scope="groups: [production]")
    web = guardrail(scope="groups: [web]")
    assert losses(diff(production, web, (GROUPS, GROUPS))) == [("db1", "small-steps", False)]
    assert [each.host for each in diff({A: production}, {}, (GROUPS, GROUPS)).lost] == ["db1", "web1", "web2"]
    assert losses(diff(production, guardrail("other", scope="groups: [production]"), (GROUPS, GROUPS))) == []
    weaker = guardrail("other", scope="groups: [production]", max_hosts=21)
    assert [each.host for each in diff(production, weaker, (GROUPS, GROUPS)).lost] == ["db1", "web1", "web2"]
    moved = {**GROUPS, "db1": frozenset({"all"})}
    assert losses(diff(production, production, (GROUPS, moved))) == [("db1", "small-steps", False)]
    gone = {name: groups for name, groups in GROUPS.items() if name != "db1"}
    assert losses(diff(production, production, (GROUPS, gone))) == [("db1", "small-steps", True)]
    assert losses(diff(production, production, (gone, GROUPS))) == []


def test_another_guardrail_that_asks_for_no_less_covers_a_host_as_well() -> None:
    before = {A: guardrail("one", scope="groups: [web]"), "policies/all.yml": guardrail("all", max_hosts=3)}
    assert losses(diff(before, {"policies/all.yml": before["policies/all.yml"]}, (GROUPS, GROUPS))) == []
    looser = {"policies/all.yml": guardrail("all", max_hosts=30)}
    assert len(diff(before, looser, (GROUPS, GROUPS)).lost) == 2


def test_where_groups_cannot_be_told_no_effect_is_made_up() -> None:
    assert diff({A: guardrail()}, {}, (None, GROUPS)).lost == ()
    assert diff({A: guardrail()}, {}).lost == ()


def test_the_digest_of_effects_is_of_everything_that_is_shown() -> None:
    packs = [guardrail(), guardrail(max_hosts=3), guardrail(max_percent=12.5), guardrail("other"), ""]
    digests = {effects_of(diff(guardrail(max_hosts=9), each)) for each in packs}
    assert len(digests) == len(packs)
    assert effects_of(diff(packs[0], packs[1])) == effects_of(diff(packs[0], packs[1]))


def test_500_documents_are_compared_in_a_second() -> None:
    old, new = (
        snapshot(
            {f"policies/{n}.yml": guardrail(f"g-{n}", scope="groups: [web]", max_hosts=n + more) for n in range(1, 501)}
        )
        for more in (100, 50)
    )
    start = time.process_time()
    found = diff_packs(old, new, groups=(GROUPS, GROUPS))
    took = time.process_time() - start
    assert len(found.changes) == 500
    assert took < 2, f"{took:.2f} s"
