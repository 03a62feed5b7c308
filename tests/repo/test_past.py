"""What was superseded is found again, however it comes back, and the quick answer is the plain one."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.repo import ObjectStore, Past, ProtectedFile, Snapshot, State, gather_past, past_of, snapshot_of
from opsascode.repo._past import said_in
from opsascode.repo._past_index import PastIndex
from opsascode.repo._past_words import words_of
from tests.repo.pasts import DAY, PROTECTED, START, Repository, guardrail

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime.fromtimestamp(START + 100 * DAY, UTC)
RUNBOOK = """\
apiVersion: opsascode/v1
kind: Runbook
metadata: {name: NAME}
spec:
  targets: {hosts: web}
  steps:
    - {id: one, task: {ansible.builtin.command: {argv: [first, SAID]}}}
    - {id: two, task: {ansible.builtin.command: {argv: [second, SAID]}}}
"""


def candidate(files: Mapping[str, str]) -> Snapshot:
    return snapshot_of("f" * 40, [ProtectedFile.of(path, text.encode()) for path, text in files.items()])


def states_of(store: ObjectStore, tip: str, protected: tuple[str, ...] = PROTECTED) -> list[State]:
    facts = {each.id: each.when for each in store.commits(tip, None)}
    return [
        State(snapshot=store.snapshot(each, protected), when=facts[each]) for each in store.first_parents(tip)
    ]  # fmt: skip


class World:
    """A ref with a past, asked in all ways at once."""

    def __init__(self, place: Path) -> None:
        self.repository = Repository(place / "ops")
        self._index = place / "cache"

    def commit(self, files: Mapping[str, str | None], **options: Any) -> str:
        return self.repository.commit(files, **options)

    def past(self, files: Mapping[str, str], *, window: timedelta | None = None) -> Past:
        """The past of a candidate with these files; the plain answer, and both quick ones, are the same."""
        store = ObjectStore.of(self.repository.place)
        tip, wanted = self.repository.head(), candidate(files)
        plain = past_of(states_of(store, tip), wanted, window=window, now=NOW)
        for index in (None, self._index, self._index):
            assert gather_past(store, tip, PROTECTED, wanted, window=window, now=NOW, index=index) == plain
        return plain


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path.resolve())


A, B, C = (guardrail(max_hosts=number) for number in (5, 50, 500))
PATH = "policies/a.yml"


def test_nothing_that_is_new_was_ever_superseded(world: World) -> None:
    world.commit({PATH: A})
    world.commit({PATH: B})
    past = world.past({PATH: C})
    assert (past.scopes, past.files, past.documents, past.nameless, past.rules) == ({}, {}, {}, {}, {})


def test_evidence_names_the_commit_that_had_it_and_the_one_that_superseded_it(world: World) -> None:
    had = world.commit({PATH: A})
    world.commit({"docs/x": "beside"})
    superseded = world.commit({PATH: B})
    seen = world.past({PATH: A}).files[ProtectedFile.of(PATH, A.encode()).digest]
    assert (seen.path, seen.commit, seen.superseded_by) == (PATH, had, superseded)
    assert seen.when == datetime.fromtimestamp(START + 3 * DAY, UTC)


VALUE = ("Guardrail", "deny-drop", ("spec", "require", "max_hosts"))
REFORMED = A.replace("  require:\n    max_hosts: 5\n", "  # the same\n  require: {max_hosts: 0x5}\n")
RETURNS = {
    "the very bytes": ({PATH: A}, {"scopes", "files", "documents", "nameless", "values"}),
    "beside another change": ({PATH: A, "inventories/i.ini": "x\n"}, {"files", "documents", "nameless", "values"}),
    "white space and comments": ({PATH: REFORMED}, {"documents", "nameless", "values"}),
    "a bumped version": ({PATH: guardrail(version="9.9.9", max_hosts=5)}, {"documents", "nameless", "values"}),
    "another path": ({"policies/other.yml": A}, {"files", "documents", "nameless", "values"}),
    "another path and style": ({"policies/other.yml": REFORMED}, {"documents", "nameless", "values"}),
    "another name": ({PATH: guardrail("renamed", max_hosts=5)}, {"nameless"}),
    "one field": ({PATH: guardrail(max_hosts=5, clean_tree="true")}, {"values"}),
}


@pytest.mark.parametrize("name", RETURNS)
def test_an_old_policy_is_known_again(name: str, world: World) -> None:
    files, levels = RETURNS[name]
    world.commit({PATH: A})
    world.commit({PATH: B})
    past = world.past(files)
    found = {level for level in ("scopes", "files", "documents", "nameless", "rules") if getattr(past, level)}
    if any(value == 5 for value, _ in past.values.get(VALUE, ())):
        found.add("values")
    assert found == levels


def test_a_single_rule_is_known_again_even_in_another_document(world: World) -> None:
    path, protected = "playbooks/r.yml", ("playbooks/**",)
    old, new = (RUNBOOK.replace("SAID", said).replace("NAME", "r") for said in ("old", "new"))
    world.commit({path: old})
    tip = world.commit({path: new})
    store = ObjectStore.of(world.repository.place)
    mixed = new.replace("[second, new]", "[second, old]").replace("name: r}", "name: another}")
    wanted = candidate({"playbooks/x.yml": mixed})
    past = gather_past(store, tip, protected, wanted)
    assert past == past_of(states_of(store, tip, protected), wanted)
    assert [each.what for each in past.rules.values()] == ["steps/two of runbook r"]
    assert past.documents == past.nameless == {}


def test_what_a_merge_brought_and_a_later_merge_took_away_was_superseded(world: World) -> None:
    world.commit({PATH: B})
    world.repository.git("checkout", "-q", "-b", "side")
    world.commit({PATH: A})
    world.repository.git("checkout", "-q", "main")
    world.commit({"docs/x": "1"})
    merged = world.repository.merge("side")
    world.commit({PATH: C})
    (seen,) = world.past({PATH: A}).documents.values()
    assert seen.commit == merged


def test_what_a_merge_threw_away_of_its_side_never_was_there(world: World) -> None:
    world.commit({PATH: B})
    world.repository.git("checkout", "-q", "-b", "side")
    world.commit({PATH: A})
    world.repository.git("checkout", "-q", "main")
    world.commit({"docs/x": "1"})
    world.repository.merge("-s", "ours", "side")
    assert world.past({PATH: A}).documents == {}


def test_what_is_still_there_under_another_path_was_not_superseded(world: World) -> None:
    world.commit({PATH: A, "policies/b.yml": guardrail("other")})
    world.commit({PATH: None, "policies/moved.yml": A})
    past = world.past({"policies/again.yml": A, "policies/b.yml": guardrail("other")})
    assert (past.files, past.documents, past.nameless) == ({}, {}, {})


def test_only_values_within_the_window_come_back(world: World) -> None:
    world.commit({PATH: A}, day=1)
    world.commit({PATH: B}, day=10)
    world.commit({PATH: C}, day=50)
    assert [value for value, _ in world.past({PATH: A}).values[VALUE]] == [50, 5]
    assert [value for value, _ in world.past({PATH: A}, window=timedelta(days=60)).values[VALUE]] == [50]
    assert [value for value, _ in world.past({PATH: A}, window=timedelta(days=95)).values[VALUE]] == [50, 5]


def test_a_commit_that_claims_to_be_old_is_no_older_than_those_before_it(world: World) -> None:
    world.commit({PATH: A}, day=50)
    world.commit({PATH: B}, day=-3000)
    assert [value for value, _ in world.past({PATH: A}, window=timedelta(days=60)).values[VALUE]] == [5]


def test_a_value_that_was_absent_is_a_value(world: World) -> None:
    world.commit({PATH: guardrail(max_hosts=5)})
    world.commit({PATH: guardrail(max_hosts=5, clean_tree="true")})
    past = world.past({PATH: guardrail(max_hosts=4)})
    key = ("Guardrail", "deny-drop", ("spec", "require", "clean_tree"))
    assert [value for value, _ in past.values[key]] == [None]


def test_versions_are_all_that_a_name_ever_had(world: World) -> None:
    for version in ("1.0.0", "1.1.0", "1.1.0", "1.2.0"):
        world.commit({PATH: guardrail(version=version, max_hosts=len(version))})
    past = world.past({PATH: guardrail(version="1.1.0", max_hosts=9)})
    assert past.versions == {("Guardrail", "deny-drop"): ("1.0.0", "1.1.0", "1.2.0")}


def test_an_index_answers_for_an_older_state_and_for_another_branch(world: World, tmp_path: Path) -> None:
    commits = [world.commit({PATH: guardrail(max_hosts=number)}) for number in (1, 2, 3, 4)]
    world.repository.git("checkout", "-q", "-b", "other", commits[1])
    commits.append(world.commit({PATH: guardrail(max_hosts=9)}))
    store, index = ObjectStore.of(world.repository.place), tmp_path / "cache"
    for tip in (commits[3], commits[1], commits[4], commits[0], commits[3]):
        for number in (1, 2, 3, 4, 9):
            wanted = candidate({PATH: guardrail(max_hosts=number)})
            assert gather_past(store, tip, PROTECTED, wanted, index=index) == past_of(states_of(store, tip), wanted)


@pytest.mark.parametrize("harm", ["emptied", "flipped", "cut", "foreign", "open to others", "a link"])
def test_an_index_that_cannot_be_believed_is_made_anew(harm: str, world: World, tmp_path: Path) -> None:
    world.commit({PATH: A})
    tip = world.commit({PATH: B})
    store, index, wanted = ObjectStore.of(world.repository.place), tmp_path / "cache", candidate({PATH: A})
    expected = gather_past(store, tip, PROTECTED, wanted, index=index)
    (kept,) = index.iterdir()
    data = kept.read_bytes()
    if harm == "flipped":
        kept.write_bytes(data.replace(b"deny-drop", b"deny-dro_"))
    elif harm == "open to others":
        index.chmod(0o777)
        kept.write_bytes(b"")
    elif harm == "a link":
        kept.rename(tmp_path / "elsewhere")
        kept.symlink_to(tmp_path / "elsewhere")
    else:
        kept.write_bytes({"emptied": b"", "cut": data[:-100], "foreign": b"x" * 5000}[harm])
    assert gather_past(store, tip, PROTECTED, wanted, index=index) == expected
    assert kept.is_symlink() is False or harm == "a link"
    if harm not in {"open to others", "a link"}:
        assert kept.stat().st_mode & 0o777 == 0o600
        assert index.stat().st_mode & 0o777 == 0o700


FILES = ("policies/a.yml", "policies/b.yml", "policies/sub/c.yml", "inventories/hosts", "docs/d")
NAMES, NUMBERS, LABELS = (
    st.sampled_from("abc"),
    st.sampled_from([1, 5, 12, 25, 250]),
    st.sampled_from(["x", "x-y", "it's x"]),
)


@st.composite
def documents(draw: st.DrawFn) -> str:
    number, name, group = draw(NUMBERS), draw(NAMES), draw(LABELS)
    spelled = draw(st.sampled_from(["{0}", "{0}.0", "+{0}", "0x{0:x}", "{0}e0", "0o{0:o}"])).format(number)
    percent = draw(st.sampled_from(["", "max_percent: 12.5, ", 'max_percent: "12.50%", ', "max_percent: 1.25e1, "]))
    quoted = draw(st.sampled_from(["'{}'", '"{}"'])).format(group) if "'" not in group else draw(
        st.sampled_from(["it's x", "'it''s x'", '"it\\u0027s x"', '"it\'s\n   x"'])
    )  # fmt: skip
    version = draw(st.sampled_from(["", ", version: 1.0.0", ", version: 1.1.0"]))
    comment = draw(st.sampled_from(["", "# a comment\n"]))
    return (
        f"{comment}apiVersion: opsascode/v1\nkind: Guardrail\n"
        f"metadata: {{name: {name}{version}}}\nspec:\n  applies_to: {{groups: [{quoted}]}}\n"
        f"  require: {{{percent}max_hosts: {spelled}}}\n  reason: r\n"
    )


TEXTS = st.one_of(
    documents(), st.lists(documents(), min_size=2, max_size=2).map("---\n".join), st.just("no: [document")
)
CHANGES = st.dictionaries(st.sampled_from(FILES), st.one_of(TEXTS, st.none()), max_size=3)


@settings(max_examples=25)
@given(st.lists(st.tuples(CHANGES, st.booleans()), min_size=1, max_size=7), CHANGES)
def test_the_quick_answer_is_the_plain_one(
    history: list[tuple[dict[str, str | None], bool]], last: dict[str, str | None]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name).resolve())
        held: dict[str, str] = {}
        for changes, merged in history:
            possible = {path: text for path, text in changes.items() if text is not None or path in held}
            if merged and world.repository._day:
                world.repository.git("checkout", "-q", "-B", "side")
                world.commit(possible)
                world.repository.git("checkout", "-q", "main")
                world.repository.merge("side")
            else:
                world.commit(possible)
            held = _after(held, possible)
        wanted = {path: text for path, text in _after(held, last).items() if not path.startswith("docs/")}
        world.past(wanted)


def _after(held: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    together: dict[str, str | None] = {**held, **changes}
    return {path: text for path, text in together.items() if text is not None}


def test_words_are_those_that_stand_in_every_spelling() -> None:
    file = ProtectedFile.of(PATH, guardrail("one", max_hosts=5, max_percent="12.50%").encode())
    assert {frozenset(each.data for each in words) for words in words_of(file)} == {
        frozenset({b"one"}),
        frozenset({b"5", b"12"}),
    }


SPELLINGS = {
    "max_hosts": ("20", "20.0", "+20", "0x14", "0o24", "2e1", "2.0E+1", "200e-1", "20."),
    "max_percent": ("12.5", "12.50", '"12.5%"', "'12.500%'", "1.25e1", "125.e-1", "+12.5"),
    "triggers": ("[manual, ci]", "['ci', \"manual\"]", '["\\x63i", manual]', "[manual,\n      ci]"),
}


@pytest.mark.parametrize("key", SPELLINGS)
def test_no_spelling_hides_a_document_from_the_search(key: str) -> None:
    files = [ProtectedFile.of(PATH, guardrail(**{key: each}).encode()) for each in SPELLINGS[key]]
    renamed = [ProtectedFile.of(PATH, guardrail("other", **{key: each}).encode()) for each in SPELLINGS[key]]
    assert len({each.nameless for file in [*files, *renamed] for each in said_in(file)}) == 1
    with PastIndex(None, "test") as table:
        table.add_texts({each.oid: each.data for each in files})
        for file in renamed:
            assert set(table.search(words_of(file))) == {each.oid for each in files}
