"""Groups are told from files that only say so, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opsascode.repo import ProtectedFile, static_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

INI = "[web]\nweb[1:2] ansible_host=127.0.0.1\n[production:children]\nweb\n"


def files(said: Mapping[str, str], mode: str = "100644") -> dict[str, ProtectedFile]:
    return {path: ProtectedFile.of(path, text.encode(), mode=mode) for path, text in said.items()}


def test_groups_of_files_directories_and_lists() -> None:
    said = files({
        "inventories/live/10.ini": INI,
        "inventories/live/20.yml": "all: {children: {db: {hosts: {db1: {x: '{{ never }}'}}}}}\n",
        "inventories/live/group_vars/all.yml": "never: [read",
        "policies/a.yml": "not: an inventory\n",
    })  # fmt: skip
    assert static_groups(said, ["inventories/live", "extra1,extra2"]) == {
        "web1": {"web", "production"},
        "web2": {"web", "production"},
        "db1": {"db"},
        "extra1": {"ungrouped"},
        "extra2": {"ungrouped"},
    }


@pytest.mark.parametrize(
    ("path", "text", "mode"),
    [
        ("inv/a.ini", INI, "100755"),
        ("inv/a", "#!/bin/sh\necho {}\n", "100644"),
        ("inv/a.yml", "plugin: constructed\nstrict: true\n", "100644"),
        ("inv/a.yml", '"pl\\x75gin": ansible.builtin.constructed\n', "100644"),
        ("inv/a.yml", "$ANSIBLE_VAULT;1.1;AES256\n00\n", "100644"),
        ("inv/a.yml", "all: [broken", "100644"),
        ("inv/a.toml", "[web.hosts]\nweb1 = {}\n", "100644"),
    ],
)
def test_what_would_have_to_be_executed_or_is_not_plain_is_unknown(path: str, text: str, mode: str) -> None:
    assert static_groups(files({path: text}, mode), ["inv"]) is None


def test_a_source_that_is_not_there_is_unknown() -> None:
    assert static_groups({}, ["inv"]) is None
    assert static_groups({}, []) is None
