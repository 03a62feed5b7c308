"""A static inventory is resolved once; whatever could make another answer makes another question."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import Inventory, resolve_inventory

DATA = Path(__file__).parent / "inventories"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(DATA, tmp_path / "repo")
    return tmp_path / "repo"


def resolve(root: Path, *sources: str, pattern: str = "all", limit: str | None = None, **environment: str) -> Inventory:
    return resolve_inventory(
        sources, pattern=pattern, limit=limit, environment=environment, root=root, cache=root / "cache"
    )


def kept(root: Path, kind: str = "") -> list[Path]:
    return sorted((root / "cache").glob(f"**/{kind}*-*"))


def forbid(patch: pytest.MonkeyPatch) -> None:
    """Make every further question to Ansible fail."""
    patch.setattr(sys, "executable", "/bin/false")


def test_the_second_answer_needs_no_ansible_and_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(root, "directory")
    forbid(monkeypatch)
    assert resolve(root, "directory") == first


def test_another_selection_is_made_from_the_kept_document(root: Path) -> None:
    first = resolve(root, "directory")
    second = resolve(root, "directory", pattern="web", limit="web1")
    assert (second.hosts, second.digest) == (("web1",), first.digest)
    assert len(kept(root, "document")) == 1
    assert len(kept(root, "selection")) == 2


@pytest.mark.parametrize(
    "path",
    ["directory/10-hosts.yml", "directory/group_vars/web/10-first.yml", "directory/host_vars/web1.yml", "ansible.cfg",
     "directory/group_vars/new.yml", "directory/more/hosts"],
)  # fmt: skip
def test_a_changed_or_added_file_asks_ansible_again(path: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(root, "directory")
    with (root / path).open("a") as stream:
        stream.write("\n# changed\n")
    forbid(monkeypatch)
    with pytest.raises(ResolveError, match="could not be asked"):
        resolve(root, "directory")


def test_files_beside_a_single_file_count(root: Path) -> None:
    resolve(root, "order/a/hosts.yml")
    (root / "order/a/host_vars").mkdir()
    (root / "order/a/host_vars/a.yml").write_text("new: 1\n")
    assert "new" in resolve(root, "order/a/hosts.yml").variable_names("a")


def test_settings_of_ansible_are_part_of_the_question(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(root, "ini/hosts")
    forbid(monkeypatch)
    assert resolve(root, "ini/hosts", PATH="/usr/bin:/bin")
    with pytest.raises(ResolveError):
        resolve(root, "ini/hosts", ANSIBLE_HASH_BEHAVIOUR="merge")


def test_a_warning_of_resolving_is_told_each_time(root: Path) -> None:
    (root / "hosts.yml").write_text("all:\n  hosts: {a: {x: 1, x: 2}}\n")
    warnings = {resolve(root, "hosts.yml", pattern=pattern).warnings for pattern in ("all", "a", "a")}
    assert warnings == {("Found duplicate mapping key 'x'.",)}


@pytest.mark.parametrize("source", ["script/hosts.py", "constructed"])
def test_nothing_dynamic_is_kept(source: str, root: Path) -> None:
    resolve(root, source)
    assert not kept(root)


def test_a_file_made_executable_is_asked_anew(root: Path) -> None:
    resolve(root, "ini/hosts")
    (root / "ini/hosts").chmod(0o755)
    with pytest.raises(ResolveError, match="script"):
        resolve(root, "ini/hosts")


def test_a_selection_by_limit_file_is_never_kept(root: Path) -> None:
    assert resolve(root, "yaml/hosts.yml", limit="@limit.txt").hosts == ("lonely", "db1")
    (root / "limit.txt").write_text("db2\n")
    assert resolve(root, "yaml/hosts.yml", limit="@limit.txt").hosts == ("db2",)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
@pytest.mark.parametrize("kind", ["document", "selection"])
def test_a_damaged_answer_is_no_answer(kind: str, damage: bytes | None, root: Path) -> None:
    first = resolve(root, "ini/hosts")
    (path,) = kept(root, kind)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"web", b"wob") if damage is None else damage)
    assert resolve(root, "ini/hosts") == first
    assert path.read_bytes() == content


def test_answers_are_for_their_owner_alone_and_bounded(root: Path) -> None:
    (root / "cache").mkdir()
    for number in range(200):
        name = "selection" if number % 2 else "document"
        path = root / "cache" / "inventory" / f"{name}-{number:064}"
        path.parent.mkdir(exist_ok=True, mode=0o755)
        path.write_bytes(b"")
    resolve(root, "ini/hosts")
    (folder,) = (root / "cache").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(kept(root, "document")) == 16
    assert len(kept(root, "selection")) <= 128
    newest = max(kept(root, "selection"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob(".new-*"))


def test_a_cache_that_cannot_be_written_changes_no_answer(root: Path) -> None:
    (root / "cache").write_text("a file where the directory should be")
    assert resolve(root, "ini/hosts").total == 6
