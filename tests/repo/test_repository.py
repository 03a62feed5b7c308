"""Opening a repository, finding its root, and getting one valid runbook out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ExitCode, UsageError
from opsascode.repo import InvalidDocumentsError, open_repository
from tests.repo.conftest import World, runbook

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = "{apiVersion: opsascode/v1, kind: Repository, metadata: {name: r}}\n"


def test_the_root_is_where_the_settings_are(world: World) -> None:
    root = world({"opsascode.yml": SETTINGS, "playbooks/deep/a.yml": runbook("a"), "playbooks/deep/.git/x": ""})
    assert open_repository(root / "playbooks" / "deep").root == root


def test_without_settings_the_root_is_the_working_tree(world: World) -> None:
    root = world({".git/HEAD": "", "playbooks/a.yml": runbook("a")})
    repository = open_repository(root / "playbooks")
    assert repository.root == root
    assert repository.settings.inventory == ()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        open_repository(tmp_path / "missing")


def test_broken_settings_have_a_position(world: World) -> None:
    root = world({"opsascode.yml": SETTINGS + "spec: {inventry: x}\n"})
    with pytest.raises(InvalidDocumentsError) as caught:
        open_repository(root)
    assert caught.value.exit_code is ExitCode.INVALID
    assert caught.value.position is not None
    assert open_repository(root, tolerant=True).root == root


@pytest.mark.parametrize("text", ["", SETTINGS + "---\n" + SETTINGS, runbook("a")])
def test_settings_are_one_document_of_their_kind(world: World, text: str) -> None:
    with pytest.raises(InvalidDocumentsError):
        open_repository(world({"opsascode.yml": text}))


@pytest.mark.parametrize("place", ["playbooks/a.yml", "playbooks/a.yaml", "playbooks/deep/er/other.yml"])
def test_a_runbook_is_found_by_its_name_wherever_it_is(world: World, place: str) -> None:
    root = world({place: runbook("a"), "playbooks/z.yml": runbook("z")})
    assert open_repository(root).runbook("a").source.path == place


def test_a_runbook_is_found_by_its_path(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world({"playbooks/deep/a.yml": runbook("named-otherwise")})
    assert open_repository(root).runbook("playbooks/deep/a.yml").name == "named-otherwise"
    monkeypatch.chdir(root / "playbooks")
    assert open_repository(root).runbook("deep/a.yml").name == "named-otherwise"


def test_one_of_several_runbooks_in_a_file_is_named(world: World) -> None:
    repository = open_repository(world({"playbooks/both.yml": runbook("a") + "---\n" + runbook("b")}))
    assert repository.runbook("b").position.line == 9
    with pytest.raises(UsageError, match="holds 2 runbooks"):
        repository.runbook("playbooks/both.yml")


def test_only_what_a_runbook_needs_is_read(world: World) -> None:
    root = world({"playbooks/a.yml": runbook("a"), "playbooks/broken.yml": "a: [", "playbooks/b.yml": runbook("zz-a")})
    assert open_repository(root).runbook("a").name == "a"


def test_an_unknown_name_is_answered_with_the_nearest(world: World) -> None:
    repository = open_repository(world({"playbooks/a.yml": runbook("service-restart")}))
    with pytest.raises(UsageError) as caught:
        repository.runbook("service-restrat")
    assert "did you mean «service-restart»?" in caught.value.advice
    assert repository.runbook_names() == ("service-restart",)


def test_an_invalid_runbook_names_all_its_problems(world: World) -> None:
    text = runbook("a").replace("ansible.builtin.ping", "ansible.builtin.pnig") + "      colour: blue\n"
    root = world({"playbooks/a.yml": text.replace("- {id: a, ", "- id: a\n      ").replace("}}\n", "}\n")})
    with pytest.raises(InvalidDocumentsError) as caught:
        open_repository(root).runbook("a")
    assert {problem.code for problem in caught.value.problems} == {"unknown-module", "unknown-key"}


def test_a_runbook_that_cannot_be_read_says_why(world: World) -> None:
    with pytest.raises(InvalidDocumentsError, match="something is missing here"):
        open_repository(world({"playbooks/a.yml": "a: ["})).runbook("a")


def test_the_runbooks_it_composes_must_be_valid_too(world: World) -> None:
    outer = runbook("outer") + "    - {id: b, runbook: inner}\n"
    root = world(
        {"playbooks/outer.yml": outer, "playbooks/inner.yml": runbook("inner") + "    - {id: a, runbook: gone}\n"}
    )
    with pytest.raises(InvalidDocumentsError) as caught:
        open_repository(root).runbook("outer")
    assert {problem.code for problem in caught.value.problems} == {"repeated-id", "unknown-runbook"}


def test_two_runbooks_with_one_name_are_refused_when_both_are_seen(world: World) -> None:
    root = world({"playbooks/x.yml": runbook("a"), "playbooks/y.yml": runbook("a")})
    with pytest.raises(InvalidDocumentsError, match="also that of another"):
        open_repository(root).runbook("a")


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "a\0b", "a/\0.yml", "\udcff", "*", "playbooks", "playbooks/"]
)
def test_odd_names_are_unknown(world: World, name: str) -> None:
    with pytest.raises(UsageError):
        open_repository(world({"playbooks/a.yml": runbook("a")})).runbook(name)


def test_an_unreadable_neighbour_does_not_matter(world: World) -> None:
    root = world({"playbooks/sub/a.yml": runbook("a")})
    (root / "playbooks" / "0.yml").symlink_to("/etc/passwd")
    assert open_repository(root).runbook("a").name == "a"


def test_composition_has_a_depth(world: World) -> None:
    files = {f"playbooks/r{n}.yml": runbook(f"r{n}") + f"    - {{id: b, runbook: r{n + 1}}}\n" for n in range(12)}
    root = world(files | {"playbooks/r12.yml": runbook("r12")})
    assert open_repository(root).runbook("r5").name == "r5"
    with pytest.raises(InvalidDocumentsError, match="more than 8 deep"):
        open_repository(root).runbook("r0")
