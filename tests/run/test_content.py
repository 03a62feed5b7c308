"""Ansible content is pinned as a whole, copied for the run, and never anything else than what was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opsascode.errors import DocumentError, ResolveError
from opsascode.run._content import materialise, pin_content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    for name, text in {
        "playbooks/ansible/site.yml": "- hosts: all\n",
        "playbooks/files/motd": "hello\n",
        "roles/web/tasks/main.yml": "- ansible.builtin.ping:\n",
        "other/deploy/run.yml": "- hosts: all\n",
        "other/deploy/vars.yml": "x: 1\n",
        "top.yml": "- hosts: all\n",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda root: (root / "playbooks/files/motd").write_text("hellO\n"),
    "a new file": lambda root: (root / "roles/web/tasks/more.yml").write_text(""),
    "a file gone": lambda root: (root / "playbooks/files/motd").unlink(),
    "a rename": lambda root: (root / "playbooks/files/motd").rename(root / "playbooks/files/issue"),
    "the executable bit": lambda root: (root / "playbooks/files/motd").chmod(0o755),
    "a file made a link": lambda root: _link(root / "playbooks/files/motd", "../ansible/site.yml"),
}


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_content_changes_its_digest_and_stops_the_run(root: Path, tmp_path: Path, change: str) -> None:
    before = pin_content(root)
    CHANGES[change](root)
    assert pin_content(root) != before
    with pytest.raises(ResolveError, match="since the plan was made"):
        materialise(root, before, tmp_path / "copy")


def test_the_copy_is_what_was_pinned(root: Path, tmp_path: Path) -> None:
    (root / "playbooks/files/motd").chmod(0o755)
    (root / "playbooks/files/alias").symlink_to("motd")
    pins = pin_content(root)
    copy = tmp_path / "copy"
    (copy / "playbooks").mkdir(parents=True)
    materialise(root, pins, copy)
    assert (copy / "playbooks/files/motd").stat().st_mode & 0o111
    assert (copy / "playbooks/files/alias").read_text() == "hello\n"
    assert [pin.path for pin in pins] == ["playbooks/ansible", "playbooks/files", "roles"]
    assert pin_content(copy) == pins


def test_a_playbook_elsewhere_brings_the_directory_it_lies_in(root: Path, tmp_path: Path) -> None:
    pins = pin_content(root, playbooks=["other/deploy/run.yml", "top.yml", "playbooks/ansible/site.yml"])
    assert [pin.path for pin in pins] == ["playbooks/ansible", "playbooks/files", "roles", "other/deploy", "top.yml"]
    copy = tmp_path / "copy"
    copy.mkdir()
    materialise(root, pins, copy)
    assert (copy / "other/deploy/vars.yml").read_text() == "x: 1\n"
    assert (copy / "top.yml").is_file()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside", "../../../../../../etc/passwd"])
def test_a_link_out_of_the_repository_is_refused(root: Path, target: str) -> None:
    (root / "playbooks/files/evil").symlink_to(target)
    with pytest.raises(DocumentError, match="symbolic link"):
        pin_content(root)


def test_caches_of_python_and_git_do_not_count(root: Path) -> None:
    before = pin_content(root)
    (root / "roles/__pycache__").mkdir()
    (root / "roles/__pycache__/x.pyc").write_bytes(b"x")
    assert pin_content(root) == before
