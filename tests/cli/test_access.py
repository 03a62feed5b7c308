"""Passwords and secrets come from files, scripts, variables or a terminal, with Ansible's meaning, and from nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opsascode.cli._access import AccessWords, read_access, read_vault, tag_words
from opsascode.cli._options import read_parameters
from opsascode.cli._secrets import Keyring, read_secret_words
from opsascode.errors import OpsError, UsageError
from opsascode.repo import Lookup, SealedKey
from opsascode.run import VaultSecret

V, WORD = "v", "vault word"
VAULT = Path(sys.executable).parent / "ansible-vault"


def words(**given: Any) -> AccessWords:
    nothing = AccessWords(
        secrets=(), ask_vault_pass=False, vault_password_files=(), vault_ids=(), ask_become_pass=False, ask_pass=False,
        become_password_file=None, connection_password_file=None, private_key=None, user=None, tags=(), skip_tags=(),
        forks=None, verbose=0,
    )  # fmt: skip
    return AccessWords(**{**nothing, **given})  # type: ignore[typeddict-item]  # given are words of it


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def sealed(path: Path, text: str, word: str = WORD) -> Path:
    key = path.with_suffix(".key")
    key.write_text(word)
    path.write_text(text)
    subprocess.run([VAULT, "encrypt", "--vault-password-file", key, path], check=True, capture_output=True)
    return path


def test_a_password_file_is_read_and_a_script_is_run(tmp_path: Path) -> None:
    (tmp_path / "become").write_text("b word\n")
    access = read_access(
        words(
            become_password_file=str(tmp_path / "become"),
            connection_password_file=script(tmp_path / "connect", "echo c word"),
        ),
        (),
        {},
    )
    assert (access.become_password, access.connection_password) == ("b word", "c word")


def test_variables_of_ours_serve_pipelines_and_are_gone_afterwards() -> None:
    environ = {"OPSASCODE_BECOME_PASSWORD": "b", "OPSASCODE_CONNECTION_PASSWORD": "c", "OPSASCODE_VAULT_PASSWORD": V}
    vault = read_vault(words(), (), environ)
    access = read_access(words(), vault, environ)
    assert (access.become_password, access.connection_password) == ("b", "c")
    assert access.vault_secrets == (VaultSecret(id="default", password=V),)
    assert environ == {}


def test_a_variable_that_was_taken_is_not_in_proc_any_more() -> None:
    code = (
        "import os; from opsascode.cli._secrets import take_variable as take; print(take('OPSASCODE_X', os.environ));"
        "print(b'canary' in open('/proc/self/environ','rb').read(), os.environ.get('OPSASCODE_X'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"OPSASCODE_X": "canary", "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["canary", "False None"]


def test_vault_ids_have_files_scripts_and_client_scripts(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("one\n")
    client = script(tmp_path / "keys-client.sh", 'echo "$1 $2"')
    plain_script = script(tmp_path / "keys.sh", 'echo "three$#"')
    given = words(vault_ids=(f"dev@{tmp_path}/plain", f"prod@{client}"), vault_password_files=(plain_script,))
    assert [(each.id, each.password) for each in read_vault(given, ("x@/nonexistent",), {})] == [
        ("dev", "one"),
        ("prod", "--vault-id prod"),
        ("default", "three0"),
    ]


def test_a_vault_file_of_ansible_cfg_is_read_but_its_program_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("one\n")
    evil = script(tmp_path / "evil", f"touch {tmp_path}/ran; echo x")
    assert [each.password for each in read_vault(words(), (str(tmp_path / "plain"), evil), {})] == ["one"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ask_become_pass": True}, "no terminal"),
        ({"ask_pass": True}, "no terminal"),
        ({"ask_become_pass": True, "become_password_file": "x"}, "exclude each other"),
        ({"become_password_file": "/nonexistent"}, "cannot be read"),
        ({"become_password_file": "/"}, "cannot be read"),
        ({"become_password_file": "/bin/false"}, "failed"),
        ({"become_password_file": "/bin/true"}, "empty"),
        ({"private_key": "/nonexistent"}, "cannot be read"),
    ],
)
def test_what_cannot_be_had_is_told_before_anything_starts(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_access(words(**given), (), {})


def test_nobody_to_ask_for_a_vault_password() -> None:
    for given in ({"ask_vault_pass": True}, {"vault_ids": ("dev@prompt",)}):
        with pytest.raises(UsageError, match="no terminal") as raised:
            read_vault(words(**given), (), {})
        assert "OPSASCODE_VAULT_PASSWORD" in raised.value.advice


def test_tags_are_split_as_ansible_does() -> None:
    assert tag_words(("a,b", " c ", "a", "")) == ("a", "b", "c")


def test_sources_of_secrets() -> None:
    found = read_secret_words(("a=vault:s.yml#db.pw", "b=lookup:ansible.builtin.file,/x,y=z", "c=env:X"), {"X": "x"})
    assert found["a"] == SealedKey(path=Path("s.yml"), key="db.pw")
    assert found["b"] == Lookup(plugin="ansible.builtin.file", terms=("/x", "y=z"))
    assert callable(found["c"])
    assert found["c"]() == "x"


@pytest.mark.parametrize(
    "word",
    [
        "hunter2",
        "a=hunter2",
        "a=hunter2:x",
        "a=env:hunter2 x",
        "a=file:",
        "a=vault:hunter2",
        "a=lookup:hunter2",
        "a=lookup:../hunter2,x",
    ],
)
def test_a_source_that_is_none_is_refused_without_being_repeated(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_secret_words((word,), {})
    assert "hunter2" not in str(raised.value) or word == "hunter2"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    root = tmp_path / "repository"
    root.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    return Keyring(vault=(VaultSecret(password=WORD),), environment=environment, root=root)


def test_a_sealed_parameter_file_is_opened_and_a_plain_one_is_not_given_to_ansible(
    tmp_path: Path, keyring: Keyring
) -> None:
    plain = tmp_path / "plain.yml"
    plain.write_text("size: 3\n")
    closed = sealed(tmp_path / "closed.yml", "token: canary\nsize: 4\n")
    assert read_parameters((f"@{plain}", f"@{closed}"), keyring.open_file) == ({}, {"size": 4, "token": "canary"})


def test_a_file_with_single_sealed_values_is_opened(tmp_path: Path, keyring: Keyring) -> None:
    (tmp_path / "key").write_text("vault word")
    command = [VAULT, "encrypt_string", "--vault-password-file", tmp_path / "key", "canary", "--name", "token"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    path = tmp_path / "mixed.yml"
    path.write_text(f"size: 5\n{text}")
    assert read_parameters((f"@{path}",), keyring.open_file) == ({}, {"size": 5, "token": "canary"})


def test_without_the_right_password_a_sealed_file_is_told_and_not_its_content(tmp_path: Path, keyring: Keyring) -> None:
    closed = sealed(tmp_path / "closed.yml", "token: canary\n", word="another word")
    with pytest.raises(OpsError, match=r"closed\.yml cannot be decrypted") as raised:
        read_parameters((f"@{closed}",), keyring.open_file)
    assert "vault word" not in str(raised.value)
