"""What an ansible.cfg may set is kept, what only shows is dropped, what is dangerous is told with its line."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from opsascode.repo import InvalidDocumentsError, Severity, check_repository, open_repository, usable_ansible_settings
from opsascode.repo._ansible_settings import ansible_settings

ROOT, CONTENT = Path("/repository"), Path("/content")


def rendered(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(ansible_settings(text).rendered(ROOT, CONTENT).decode())
    return {section: dict(parser[section]) for section in parser.sections()}


@pytest.mark.parametrize(
    "text",
    [
        "[defaults]\nforks = 20\ntimeout = 42\nremote_user = ops\nremote_port = 2222\n",
        "[defaults]\ngathering = smart\ninterpreter_python = auto_silent\nhash_behaviour = merge\n",
        "[privilege_escalation]\nbecome = True\nbecome_method = sudo\nbecome_user = root\n",
        "[sudo_become_plugin]\nflags = -H -S\n",
        "[ssh_connection]\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\nretries = 3\ntransfer_method = scp\n",
        "[ssh_connection]\nssh_common_args = -o ProxyJump=bastion\nssh_executable = /usr/local/bin/ssh\n",
        "[persistent_connection]\ncommand_timeout = 60\n",
        "[inventory]\nenable_plugins = host_list, yaml, ini\n",
    ],
)
def test_what_says_how_hosts_are_reached_is_kept_as_it_is(text: str) -> None:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert ansible_settings(text).problems == ()
    kept = rendered(text)
    for section in parser.sections():
        assert kept[section] == dict(parser[section])


@pytest.mark.parametrize(
    "line",
    ["inventory = hosts", "stdout_callback = yaml", "nocows = 1", "retry_files_enabled = False", "deprecation_warnings = False",
     "callbacks_enabled = timer, ansible.posix.profile_tasks", "host_key_checking = True", "local_tmp = /tmp/x",
     "collections_path = ~/.ansible/collections:/usr/share/ansible/collections", "ask_vault_pass ="],
)  # fmt: skip
def test_what_only_shows_or_is_set_by_us_is_dropped_without_a_word(line: str) -> None:
    text = f"[defaults]\n{line}\n"
    assert ansible_settings(text).problems == ()
    assert set(rendered(text)) == {"connection"}


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("defaults", "strategy = free"),
        ("defaults", "log_path = ansible.log"),
        ("defaults", "fact_caching = jsonfile"),
        ("defaults", "callbacks_enabled = log_plays"),
        ("defaults", "jinja2_extensions = jinja2.ext.do"),
        ("defaults", "vars_plugins = vars"),
        ("defaults", "ask_pass = True"),
        ("privilege_escalation", "become_ask_pass = True"),
        ("defaults", "nobody_knows = this"),
        ("nobody", "knows = this"),
        ("defaults", "roles_path = /opt/roles"),
    ],
)
def test_what_does_not_count_is_told_and_stops_nothing(section: str, line: str) -> None:
    (problem,) = ansible_settings(f"# ours\n[{section}]\n{line}\n").problems
    assert problem.severity is Severity.WARNING
    assert (problem.position.path, problem.position.line) == ("ansible.cfg", 3)
    assert problem.mend
    assert set(rendered(f"[{section}]\n{line}\n")) == {"connection"}


@pytest.mark.parametrize(
    ("section", "line", "says"),
    [
        ("defaults", "host_key_checking = False", "host keys are always checked"),
        ("defaults", "HOST_KEY_CHECKING: no", "host keys are always checked"),
        ("ssh_connection", "host_key_checking = 0", "host keys are always checked"),
        ("ssh_connection", "ssh_args = -C -o StrictHostKeyChecking=no", "turns the checking of host keys off"),
        ("ssh_connection", "ssh_common_args = -o UserKnownHostsFile=/dev/null", "turns the checking of host keys off"),
        ("paramiko_connection", "host_key_auto_add = True", "never accepted by themselves"),
        ("defaults", "library = /opt/modules", "leads out of the repository"),
        ("defaults", "filter_plugins = plugins/filter:../other", "leads out of the repository"),
        ("ssh_connection", "ssh_executable = bin/ssh", "no plan pins"),
        ("sudo_become_plugin", "password = hunter2", "a password must not stand"),
        ("tags", "skip = slow", "leave out tasks that were planned"),
    ],
)
def test_what_is_dangerous_is_an_error_at_its_line(section: str, line: str, says: str) -> None:
    (problem,) = ansible_settings(f"[{section}]\n; why\n{line}\n").problems
    assert problem.severity is Severity.ERROR
    assert says in problem.message
    assert problem.position.line == 3
    assert problem.mend
    assert "hunter2" not in problem.message + problem.mend


@pytest.mark.parametrize(
    "text", ["forks = 5\n", "[defaults]\nforks = 5\nforks = 6\n", "[defaults]\n[defaults]\n", "[defaults\n"]
)
def test_what_ansible_cannot_read_is_told(text: str) -> None:
    (problem,) = ansible_settings(text).problems
    assert "Ansible cannot read this" in problem.message


def test_plugins_come_from_the_pinned_copy_and_other_files_from_the_repository() -> None:
    text = "[defaults]\nlibrary = ./library\nconnection_plugins = plugins/connection:~/.ansible/plugins/connection\nprivate_key_file = keys/id\n"
    settings = ansible_settings(text)
    assert settings.problems == ()
    assert settings.directories == ("library", "plugins/connection")
    found = rendered(text)["defaults"]
    assert found["library"] == "/content/library"
    assert found["connection_plugins"] == "/content/plugins/connection"
    assert found["private_key_file"] == "/repository/keys/id"


def test_roles_collections_vaults_and_forks_are_handed_on() -> None:
    settings = ansible_settings(
        "[defaults]\nroles_path = roles:vendor/roles:~/.ansible/roles\ncollections_path = vendor/collections\n"
        "vault_identity_list = dev@~/.dev, prod@prompt\nforks = 30\n"
    )
    assert settings.problems == ()
    assert settings.roles == ("roles", "vendor/roles")
    assert settings.collections == ("vendor/collections",)
    assert settings.vault == ("dev@~/.dev", "prod@prompt")
    assert settings.forks == 30


@pytest.mark.parametrize(
    "text",
    [
        "[defaults]\npipelining = False\n",
        "[connection]\npipelining = False\n",
        "[ssh_connection]\npipelining = False\n",
    ],
)
def test_pipelining_is_on_unless_something_is_said(text: str) -> None:
    assert rendered("[defaults]\n")["connection"] == {"pipelining": "True"}
    assert [values["pipelining"] for values in rendered(text).values()] == ["False"]


def test_shared_ssh_masters_do_not_outlive_a_run() -> None:
    text = "[ssh_connection]\nssh_args = -o ControlMaster=auto -o ControlPath=/tmp/ssh-%h -o ControlPersist=60s\n"
    (problem,) = ansible_settings(text).problems
    assert problem.severity is Severity.WARNING
    assert rendered(text)["ssh_connection"]["ssh_args"] == "-o ControlMaster=auto -o ControlPersist=60s"


def test_a_check_and_a_run_find_the_same(tmp_path: Path) -> None:
    (tmp_path / "opsascode.yml").write_text("apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: r}\n")
    (tmp_path / "ansible.cfg").write_text("[defaults]\nhost_key_checking = False\n")
    (problem,) = check_repository(open_repository(tmp_path)).problems
    assert str(problem.position) == "ansible.cfg:2:1"
    with pytest.raises(InvalidDocumentsError, match="host keys are always checked"):
        usable_ansible_settings(tmp_path)


@pytest.mark.parametrize("made", ["link", "directory", "bytes"])
def test_a_file_that_cannot_be_read_is_no_settings_file(tmp_path: Path, made: str) -> None:
    path = tmp_path / "repository" / "ansible.cfg"
    path.parent.mkdir()
    if made == "link":
        (tmp_path / "other.cfg").write_text("[defaults]\nforks = 50\n")
        path.symlink_to(tmp_path / "other.cfg")
    elif made == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"[defaults]\nremote_user = \xff\n")
    with pytest.raises(InvalidDocumentsError, match="cannot be read"):
        usable_ansible_settings(path.parent)
