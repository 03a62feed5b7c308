"""Hosts are selected by Ansible's own rules, in Ansible's order, and the caller's surroundings have no word in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from opsascode.repo import Inventory, resolve_inventory

HERE = Path(__file__).parent / "inventories"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def resolve(
    *sources: str | Path, pattern: str = "all", limit: str | None = None, cache: Path | None = None
) -> Inventory:
    return resolve_inventory(sources, pattern=pattern, limit=limit, environment={}, root=HERE, cache=cache)


@pytest.mark.parametrize(
    ("pattern", "limit"),
    [
        ("all", None),
        ("web:db", "!web02*"),
        ("production:&replica", None),
        ("all:!web", "db1,lonely"),
        ("web[0:1]", None),
        ("web[-1]", None),
        ("~(db|web)0?1.*", None),
        ("db2,web,db2", "all[1:]"),
        ("localhost", None),
        ("localhost:db", "db"),
        ("all", "@limit.txt"),
        ("nothing*", None),
    ],
)
def test_patterns_and_limits_mean_what_they_mean_to_ansible(pattern: str, limit: str | None, cache: Path) -> None:
    words = [str(Path(sys.executable).parent / "ansible"), "-i", "yaml/hosts.yml", "--list-hosts", pattern]
    words += ["--limit", limit] if limit else []
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LC_ALL": "C.UTF-8"}
    told = subprocess.run(words, cwd=HERE, env=environment, capture_output=True, text=True, check=False).stdout
    assert resolve("yaml/hosts.yml", pattern=pattern, limit=limit, cache=cache).hosts == tuple(told.split()[2:])


def test_the_order_is_the_same_each_time_however_deep_the_groups() -> None:
    assert resolve("nested/hosts.yml").hosts == ("h4", "h2", "h1", "h6", "h5", "h3")


def test_the_answer_counts_all_hosts_and_tells_groups_and_names_of_the_selected(cache: Path) -> None:
    inventory = resolve("yaml/hosts.yml", pattern="db", limit="db1", cache=cache)
    assert (inventory.hosts, inventory.total) == (("db1",), 6)
    assert inventory.groups == {"db1": ("db", "primary", "production", "replica")}
    assert inventory.variable_names("db1") == {"greeting", "level", "zone", "role", "inventory_file", "inventory_dir"}
    assert inventory.sources == ("yaml/hosts.yml",)


def test_implicit_localhost_exists_only_when_it_is_named(cache: Path) -> None:
    assert "localhost" not in resolve("yaml/hosts.yml", cache=cache).hosts
    implicit = resolve("yaml/hosts.yml", pattern="localhost", cache=cache)
    assert implicit.hosts == ("localhost",)
    assert implicit.groups == {"localhost": ()}
    assert {"ansible_connection", "greeting"} <= implicit.variable_names("localhost")


def test_a_pattern_that_matches_nothing_gives_no_hosts_and_says_so(cache: Path) -> None:
    nothing = resolve("yaml/hosts.yml", pattern="nowhere", cache=cache)
    assert nothing.hosts == ()
    assert nothing.warnings == ("Could not match supplied host pattern, ignoring: nowhere",)


def test_files_encrypted_as_a_whole_are_known_to_hide_names() -> None:
    vault = resolve("vault")
    assert vault.has_sealed_variables("a")
    assert vault.variable_names("a") >= {"secret", "plain"}
    assert not resolve("directory").has_sealed_variables("web1")


def test_the_document_does_not_depend_on_where_the_repository_lies(tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(HERE / "directory", moved / "directory")
    there = resolve_inventory(["directory"], pattern="all", limit=None, environment={}, root=moved, cache=None)
    assert there.digest == resolve("directory").digest


def test_a_script_sees_nothing_of_the_caller_but_what_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "hunter2")
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "yaml")
    assert b"hunter2" not in resolve("script/hosts.py").document


def test_only_settings_of_the_repository_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".ansible.cfg").write_text("[inventory]\nenable_plugins = yaml\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "hosts").write_text("a\n")
    assert resolve_inventory(["hosts"], pattern="all", limit=None, environment={}, root=tmp_path, cache=None).hosts == (
        "a",
    )
    (tmp_path / "ansible.cfg").write_text("[inventory]\nenable_plugins = yaml\n")
    with pytest.raises(Exception, match="hosts"):
        resolve_inventory(["hosts"], pattern="all", limit=None, environment={}, root=tmp_path, cache=None)
