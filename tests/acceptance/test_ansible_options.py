"""What people give Ansible every day works: vaults, passwords, keys, and secrets from wherever they are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.acceptance.test_command_line import at_terminal
from tests.run.test_collections import build
from tests.sshd import ssh_hosts

if TYPE_CHECKING:
    from tests.world import Answer, World

VAULT = Path(sys.executable).parent / "ansible-vault"
WORD, BECOME = "vault word", "become word"
SUDO = """#!/bin/sh
prompt=
while [ "$1" != /bin/sh ]; do
  [ "$1" = -p ] && prompt="$2"
  shift
done
printf %s "$prompt" >&2
IFS= read -r given
[ "$given" = "become word" ] || { echo "Sorry, try again." >&2; exit 1; }
echo asked >> LOG
exec "$@"
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    made.mkdir()
    (made / "vault").write_text(f"{WORD}\n")
    (made / "become").write_text("become word\n")
    return made


def seal(keys: Path, path: Path, name: str = "default") -> None:
    command = [VAULT, "encrypt", f"--vault-id={name}@{keys}/vault", f"--encrypt-vault-id={name}", path]
    subprocess.run(command, check=True, capture_output=True)


def sealed_value(keys: Path, name: str, value: str) -> str:
    command = [VAULT, "encrypt_string", "--vault-password-file", keys / "vault", value, "--name", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def vaulted(world: World, keys: Path) -> World:
    """A world with a sealed group_vars file, a single sealed value, and a runbook that shows both opened."""
    seal(keys, world.write("inventories/group_vars/web/all.yml", "from_file: opened-file\n"))
    world.write("inventories/group_vars/web/mixed.yml", "")
    (world.root / "inventories/group_vars/web/mixed.yml").write_text(sealed_value(keys, "from_value", "opened-value"))
    world.runbook(
        "show",
        "- id: show\n  check: {that: \"from_file == 'opened-file' and from_value == 'opened-value'\"}",
        targets="{hosts: web1, variables: [from_file, from_value]}",
    )
    world.commit()
    return world


def test_a_vault_is_opened_by_file_script_id_and_variable(vaulted: World, keys: Path) -> None:
    script = keys / "script"
    script.write_text(f"#!/bin/sh\necho '{WORD}'\n")
    script.chmod(0o700)
    for words, variables in (
        (["--vault-password-file", f"{keys}/vault"], {}),
        (["--vault-id", f"prod@{script}"], {}),
        ([], {"OPSASCODE_VAULT_PASSWORD": WORD}),
    ):
        answer = vaulted.ops("run", "show", "-y", *words, **variables)
        assert answer.code == 0, answer.out + answer.err


def test_a_vault_is_opened_by_what_is_typed(vaulted: World) -> None:
    seen = at_terminal(vaulted, "run", "show", "-y", "-J", types={"Vault password": f"{WORD}\r"})
    assert seen.code == 0, seen.screen
    assert WORD not in seen.screen


def test_without_its_password_a_vault_stays_closed_and_the_run_says_so(vaulted: World) -> None:
    answer = vaulted.ops("run", "show", "-y")
    assert answer.code == 1
    assert "vault" in (answer.out + answer.err).lower()
    answer = vaulted.ops("run", "show", "-y", "-J")
    assert answer.code == 2
    assert "there is no terminal" in answer.err


def test_parameters_come_from_a_sealed_file(world: World, keys: Path, tmp_path: Path) -> None:
    world.runbook(
        "greet", '- id: greet\n  task: {ansible.builtin.debug: {msg: "{{ word }} {{ token | length }}"}}',
        parameters="{word: {type: string}, token: {type: string, secret: true}}", targets="{hosts: web1}",
    )  # fmt: skip
    world.commit()
    path = tmp_path / "given.yml"
    path.write_text("word: hello\ntoken: c4n4ry-s3cret\n")
    seal(keys, path, "prod")
    answer = world.ops("run", "greet", "-y", "-e", f"@{path}", "--vault-id", f"prod@{keys}/vault", "--format", "json")
    assert answer.code == 0, answer.out + answer.err
    assert "hello 13" in answer.out
    assert "c4n4ry" not in answer.out
    locked = world.ops("plan", "greet", "-e", f"@{path}")
    assert locked.code == 2
    assert "cannot be decrypted" in locked.err
    assert "--vault-password-file" in locked.err


@pytest.fixture
def guarded(world: World, keys: Path) -> World:
    """A world whose hosts ask for a password before they let anybody become somebody else."""
    sudo = keys / "sudo"
    sudo.write_text(SUDO.replace("LOG", f"{keys}/log"))
    sudo.chmod(0o755)
    world.write("ansible.cfg", "[privilege_escalation]\nbecome_allow_same_user = True\n")
    world.write("inventories/group_vars/web.yml", f"ansible_become_exe: {sudo}\n")
    world.runbook("become", "- id: who\n  task: {ansible.builtin.command: id}\n  become: true", targets="{hosts: web1}")
    world.commit()
    return world


def test_a_become_password_comes_from_a_file_a_variable_or_a_prompt(guarded: World, keys: Path) -> None:
    assert guarded.ops("run", "become", "-y").code == 1
    answer = guarded.ops("run", "become", "-y", "--become-password-file", f"{keys}/become")
    assert answer.code == 0, answer.out + answer.err
    answer = guarded.ops("run", "become", "-y", OPSASCODE_BECOME_PASSWORD=BECOME)
    assert answer.code == 0, answer.out + answer.err
    seen = at_terminal(guarded, "run", "become", "-y", "-K", types={"BECOME password": "become word\r"})
    assert seen.code == 0, seen.screen
    assert "become word" not in seen.screen
    assert (keys / "log").read_text().count("asked") >= 3
    answer = guarded.ops("run", "become", "-y", "-K")
    assert answer.code == 2
    assert "OPSASCODE_BECOME_PASSWORD" in answer.err


def run_with_secret(world: World, *words: str, **environment: str) -> Answer:
    return world.ops("run", "count", "-y", "--format", "json", *words, **environment)


@pytest.fixture
def counting(world: World) -> World:
    world.runbook(
        "count", '- id: count\n  task: {ansible.builtin.debug: {msg: "{{ token | length }} letters {{ plain }}"}}',
        parameters="{token: {type: string, secret: true}, plain: {type: string, default: x}}", targets="{hosts: web1}",
    )  # fmt: skip
    world.commit()
    return world


def test_a_secret_comes_from_variable_file_vault_and_lookup(counting: World, keys: Path) -> None:
    (keys / "token").write_text("six123\n")
    (keys / "all.yml").write_text("db: {token: seven12}\n")
    seal(keys, keys / "all.yml")
    for words, variables, length in (
        (["--secret", "token=env:MY_TOKEN"], {"MY_TOKEN": "12345"}, 5),
        (["--secret", f"token=file:{keys}/token"], {}, 6),
        (["--secret", f"token=vault:{keys}/all.yml#db.token", f"--vault-password-file={keys}/vault"], {}, 7),
        (["--secret", "token=lookup:ansible.builtin.pipe,printf '12345678%s' ''"], {}, 8),
        ([], {"OPSASCODE_PARAM_TOKEN": "123456789"}, 9),
    ):
        answer = run_with_secret(counting, *words, **variables)
        assert answer.code == 0, answer.out + answer.err
        assert f"{length} letters" in answer.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--secret", "token=hunter2"], "no source of a secret"),
        (["--secret", "nobody=env:PATH"], "no secret parameter of this name"),
        (["--secret", "plain=env:PATH"], "no secret parameter of this name"),
        (["--secret", "token=env:NOT_SET"], "has no NOT_SET"),
        (["--secret", "token=file:/nonexistent"], "cannot be read"),
        (["--secret", "token=lookup:no_such_lookup,x"], "knows no lookup"),
        (["--secret", "token=lookup:ansible.builtin.pipe,exit 3"], "no secret from Ansible"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_before_anything_starts(
    counting: World, words: list[str], says: str
) -> None:
    answer = run_with_secret(counting, *words)
    assert answer.code == 2, answer.out + answer.err
    assert says in answer.err
    assert "hunter2" not in answer.err
    assert counting.ops("runs", "list", "--format", "json").json == []


@pytest.mark.ssh
def test_user_key_and_a_way_through_another_host_are_given_for_one_run(world: World, tmp_path: Path) -> None:
    with ssh_hosts(tmp_path / "sshd", "web1", "bastion") as hosts:
        variables = hosts.variables("web1", agent=True)
        user = variables.pop("ansible_user")
        jump = f"ssh {hosts.arguments()} -i {hosts.key} -p {hosts.ports['bastion']} -W %h:%p {user}@127.0.0.1"
        variables["ansible_ssh_common_args"] = f'{hosts.arguments()} -o ProxyCommand="{jump}"'
        world.write(
            "inventories/local.yml", yaml.safe_dump({"all": {"children": {"web": {"hosts": {"web1": variables}}}}})
        )
        world.runbook("reach", "- id: reach\n  check: {command: printenv SSH_CONNECTION}", targets="{hosts: web1}")
        world.commit()
        answer = world.ops("run", "reach", "-y", "-u", str(user), "--private-key", hosts.key)
        assert answer.code == 0, answer.out + answer.err
        without = world.ops("run", "reach", "-y", "-u", str(user))
        assert without.code == 1
        assert "Permission denied" in without.out


# What an ansible.cfg of the repository may say


def test_what_a_run_must_not_have_is_refused_by_check_and_run_alike(counting: World) -> None:
    counting.write("ansible.cfg", "[defaults]\nforks = 7\nhost_key_checking = False\n")
    counting.commit()
    for words in (
        ("check",),
        ("plan", "count", "--secret", "token=env:HOME"),
        ("run", "count", "-y", "--secret", "token=env:HOME"),
    ):
        answer = counting.ops(*words)
        assert answer.code == 3, answer.out + answer.err
        assert "ansible.cfg:3:1" in answer.out + answer.err
        assert "host keys are always checked" in answer.out + answer.err


def test_what_does_not_count_is_a_warning_and_what_counts_counts(counting: World) -> None:
    counting.write("ansible.cfg", "[defaults]\ntimeout = 42\nlog_path = said.log\nstdout_callback = yaml\n")
    counting.runbook(
        "count",
        "- id: count\n  task: {ansible.builtin.debug: {msg: \"{{ lookup('config', 'DEFAULT_TIMEOUT') }}/{{ lookup('config', 'ANSIBLE_PIPELINING') }}\"}}",
        targets="{hosts: web1}",
    )
    counting.commit()
    checked = counting.ops("check")
    assert checked.code == 0
    assert "ansible.cfg:3:1: warning: log_path" in checked.out
    answer = counting.ops("run", "count", "-y", "--format", "json")
    assert answer.code == 0, answer.out + answer.err
    assert "42/True" in answer.out
    assert not (counting.root / "said.log").exists()


def test_plugins_of_the_repository_are_those_that_were_planned(world: World) -> None:
    world.write("ansible.cfg", "[defaults]\nfilter_plugins = plugins/filter\n")
    plugin = "class FilterModule:\n    def filters(self):\n        return {'loud': str.upper}\n"
    world.write("plugins/filter/loud.py", plugin)
    world.runbook(
        "shout",
        "- id: shout\n  task: {ansible.builtin.debug: {msg: \"{{ 'hello' | loud }}\"}}",
        targets="{hosts: web1}",
    )
    world.commit()
    answer = world.ops("run", "shout", "-y", "--format", "json")
    assert answer.code == 0, answer.out + answer.err
    assert "HELLO" in answer.out
    assert world.ops("plan", "shout", "--out", "plan.json").code == 0
    world.write("plugins/filter/loud.py", plugin.replace("upper", "lower"))
    moved = world.ops("run", "plan.json", "-y")
    assert moved.code != 0
    assert "plugins/filter" in moved.err


def test_a_collection_is_used_in_the_version_that_was_planned(world: World, tmp_path: Path) -> None:
    world.write("requirements.yml", "collections:\n  - {name: acme.tools, version: 1.2.3}\n")
    world.runbook(
        "greet",
        "- id: greet\n  task: {acme.tools.greet: {}}\n  register: told\n"
        "- id: told\n  check: {that: \"told.greeting == 'hello from 1.2.3'\"}",
        targets="{hosts: web1}",
    )
    world.commit()
    missing = world.ops(
        "run", "greet", "-y", HTTPS_PROXY="http://127.0.0.1:9", ANSIBLE_GALAXY_SERVER="http://127.0.0.1:9"
    )
    assert missing.code == 2, missing.out + missing.err
    assert "acme-tools-1.2.3.tar.gz is neither in collections/archive nor in the cache" in missing.err
    archive = build(tmp_path, world.root / "collections/archive")
    world.commit()
    answer = world.ops("run", "greet", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert world.ops("plan", "greet", "--out", "plan.json").code == 0
    build(tmp_path / "other", tmp_path / "again", dependencies={}).replace(archive)
    archive.write_bytes(archive.read_bytes() + b"\0")
    moved = world.ops("run", "plan.json", "-y")
    assert moved.code != 0
    assert "collection:acme.tools:1.2.3" in moved.err
