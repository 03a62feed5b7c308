"""Checking everything: which files, which are reported, the cache, and the second process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import UsageError
from opsascode.repo import CheckReport, check_repository, open_repository
from opsascode.repo import _check as room
from tests.repo.conftest import World, runbook

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = runbook("broken").replace("ansible.builtin.ping", "ansible.builtin.pnig")


def check(root: Path, *paths: Path, cache: Path | None = None) -> CheckReport:
    return check_repository(open_repository(root), paths, cache=cache)


def test_plain_ansible_content_is_not_a_document(world: World) -> None:
    ours = {"playbooks/a.yml": runbook("a"), "playbooks/deep/b.yaml": runbook("b"), "policies/x.txt": "hello"}
    theirs = dict.fromkeys(
        (
            "playbooks/ansible/site.yml", "playbooks/roles/r/tasks/main.yml", "playbooks/deep/roles/r/tasks/main.yml",
            "playbooks/tasks/t.yml", "playbooks/vars/v.yml", "playbooks/.hidden.yml", ".venv/x.yml",
            "inventories/h.yml",
        ),
        "- hosts: all\n",
    )  # fmt: skip
    report = check(world(ours | theirs))
    assert (report.files, report.documents, report.problems, report.ok) == (2, 2, (), True)


def test_named_paths_are_held_against_everything_but_only_they_are_reported(world: World) -> None:
    caller = runbook("a") + "    - {id: b, runbook: c}\n"
    root = world({"playbooks/a.yml": caller, "playbooks/sub/c.yml": runbook("c"), "playbooks/broken.yml": BROKEN})
    assert check(root, root / "playbooks" / "a.yml").problems == ()
    assert check(root, root / "playbooks" / "sub").files == 1
    assert [problem.code for problem in check(root, root).problems] == ["unknown-module"]
    assert [problem.code for problem in check(root, root / "playbooks" / "broken.yml").problems] == ["unknown-module"]


def test_a_named_file_is_checked_wherever_it_is(world: World) -> None:
    root = world(
        {
            "drafts/a.yml": runbook("a"),
            "opsascode.yml": "{apiVersion: opsascode/v1, kind: Repository, metadata: {name: r}}",
        }
    )
    assert [problem.code for problem in check(root, root / "drafts" / "a.yml").problems] == ["wrong-folder"]


def test_paths_outside_or_missing_are_usage_errors(world: World, tmp_path: Path) -> None:
    root = world({"playbooks/a.yml": runbook("a")})
    for path in (tmp_path, root / "missing.yml"):
        with pytest.raises(UsageError):
            check(root, path)


def test_unchanged_files_come_from_the_cache_with_the_same_answers(world: World, tmp_path: Path) -> None:
    root = world({"playbooks/a.yml": runbook("a") + "    - {id: b, runbook: broken}\n", "playbooks/b.yml": BROKEN})
    cold = check(root, cache=tmp_path / "cache")
    warm = check(root, cache=tmp_path / "cache")
    assert (cold.cached, warm.cached) == (0, 2)
    assert warm.problems == cold.problems
    (root / "playbooks" / "b.yml").write_text(runbook("broken"))
    assert check(root, cache=tmp_path / "cache").problems == ()


def test_a_moved_file_has_its_problems_in_its_new_place(world: World, tmp_path: Path) -> None:
    root = world({"playbooks/a.yml": BROKEN})
    check(root, cache=tmp_path / "cache")
    (root / "playbooks" / "a.yml").rename(root / "playbooks" / "z.yml")
    report = check(root, cache=tmp_path / "cache")
    assert report.cached == 1
    assert report.problems[0].position.path == "playbooks/z.yml"


def test_what_depends_on_other_files_is_never_cached(world: World, tmp_path: Path) -> None:
    root = world({"playbooks/a.yml": runbook("a") + "    - {id: b, runbook: c}\n", "playbooks/c.yml": runbook("c")})
    assert check(root, cache=tmp_path / "cache").ok
    (root / "playbooks" / "c.yml").unlink()
    assert [problem.code for problem in check(root, cache=tmp_path / "cache").problems] == ["unknown-runbook"]


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"key": 1}', '{"key": "KEY", "files": []}', '{"key": "KEY", "files": {"DIGEST": 3}}',
     '{"key": "KEY", "files": {"DIGEST": [[[]], []]}}', '{"key": "KEY", "files": {"DIGEST": [[], [[1]]]}}',
     "[" * 100_000],
)  # fmt: skip
def test_a_damaged_cache_is_ignored_and_mended(world: World, tmp_path: Path, damage: str) -> None:
    root = world({"playbooks/a.yml": BROKEN})
    right = check(root, cache=tmp_path / "cache").problems
    (place,) = (tmp_path / "cache").iterdir()
    kept = json.loads(place.read_text())
    (digest,) = kept["files"]
    place.write_text(damage.replace("KEY", kept["key"]).replace("DIGEST", digest))
    assert check(root, cache=tmp_path / "cache").problems == right


def test_the_cache_is_one_private_file(world: World, tmp_path: Path) -> None:
    root = world({"playbooks/a.yml": runbook("a")})
    check(root, cache=tmp_path / "new" / "cache")
    (place,) = (tmp_path / "new" / "cache").iterdir()
    assert place.stat().st_mode & 0o777 == 0o600
    place.chmod(0o666)
    assert check(root, cache=tmp_path / "new" / "cache").cached == 0


def test_a_cache_that_cannot_be_written_is_no_failure(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check(world({"playbooks/a.yml": runbook("a")}), cache=tmp_path / "file" / "cache").ok


def test_two_processes_find_what_one_finds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"playbooks/r{number}.yml": runbook(f"r{number}") for number in range(60)}
    root = world(files | {"playbooks/z.yml": BROKEN})
    shared = check(root)
    monkeypatch.setattr(room, "_SHARED_FROM", 1000)
    assert check(root) == shared
    assert [problem.code for problem in shared.problems] == ["unknown-module"]


def test_a_helper_that_dies_is_made_up_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world({f"playbooks/r{number}.yml": runbook(f"r{number}") for number in range(60)})
    monkeypatch.setattr(room, "_be_the_helper", lambda *_: os._exit(9))
    report = check(root)
    assert (report.documents, report.ok) == (60, True)


def test_an_unreadable_file_is_a_problem(world: World) -> None:
    root = world({"playbooks/a.yml": runbook("a")})
    (root / "playbooks" / "b\udcff.yml").write_text(runbook("b"))
    assert [problem.code for problem in check(root).problems] == ["file-name"]
