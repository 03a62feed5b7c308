"""Stages over real ssh: connections, host keys, agents, and nothing left of them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opsascode.run._journal import HostStatus
from opsascode.run._verdict import Outcome
from tests.run.staging import order, playbook, processes_with, run, shell, step
from tests.sshd import SshHosts, free_port, ssh_agent, ssh_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), "web1", "web2") as found:
        yield found


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Give a directory of this test's own for ssh's sockets; its name finds every process of the stage, and no other."""
    with tempfile.TemporaryDirectory(prefix="own-", dir="/tmp") as name:
        yield Path(name)


def test_hosts_are_reached_and_no_master_survives(tmp_path: Path, hosts: SshHosts, runtime: Path) -> None:
    sockets: set[int] = set()
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    tasks = (shell("who", "echo $SSH_CONNECTION"), shell("again", "echo failed >&2; exit 1", ignore_errors=True))
    ordered = order(tmp_path, playbook(*tasks), hosts=hosts.names, inventory=hosts.inventory(), environ=environ)
    seen = run(ordered, on_event=lambda _event: sockets.update(processes_with(f"{runtime}/ops-")))
    assert seen.result.outcome is Outcome.SUCCEEDED
    for host, result in seen.results("who").items():
        assert result.output
        assert result.output.text.endswith(f" {hosts.ports[host]}")
    assert seen.results("again")["web1"].message == "failed"
    assert sockets
    assert not processes_with(str(runtime))


def test_an_unreachable_host_fails_the_stage_and_the_others_go_on(tmp_path: Path, hosts: SshHosts) -> None:
    inventory = hosts.inventory()
    inventory["all"]["hosts"]["gone"] = {**hosts.variables("web1"), "ansible_port": free_port()}  # type: ignore[index]  # shape is known
    ordered = order(tmp_path, playbook(step("ping", "ping")), hosts=("web1", "gone"), inventory=inventory)
    seen = run(ordered)
    assert (seen.result.outcome, seen.result.reason) == (Outcome.FAILED, "1 host could not be reached: gone")
    assert seen.results("ping")["web1"].status is HostStatus.OK
    assert "Connection refused" in seen.results("ping")["gone"].message


def test_an_unknown_host_key_is_refused(tmp_path: Path, hosts: SshHosts) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    inventory = hosts.inventory(known_hosts=empty)
    ordered = order(tmp_path, playbook(step("ping", "ping")), hosts=hosts.names, inventory=inventory)
    seen = run(replace(ordered, settings=b"[defaults]\nhost_key_checking = False\n"))
    assert seen.result.outcome is Outcome.FAILED
    assert "Host key verification failed" in seen.results("ping")["web1"].message
    assert empty.read_text() == ""


def test_an_agent_is_used_when_the_caller_has_one(tmp_path: Path, hosts: SshHosts) -> None:
    content, inventory = playbook(step("ping", "ping")), hosts.inventory(agent=True)
    with ssh_agent(tmp_path, hosts.key) as socket:
        environ = {"SSH_AUTH_SOCK": socket}
        seen = run(order(tmp_path, content, hosts=hosts.names, inventory=inventory, environ=environ))
    assert seen.result.outcome is Outcome.SUCCEEDED
    without = run(order(tmp_path, content, hosts=hosts.names, inventory=inventory, environ={"SSH_AUTH_SOCK": ""}))
    assert "Permission denied" in without.results("ping")["web1"].message


def test_a_cancel_ends_ssh_and_its_masters(tmp_path: Path, hosts: SshHosts, runtime: Path) -> None:
    started = tmp_path / "started"
    ordered = order(
        tmp_path,
        playbook(shell("wait", f"touch {started}; sleep 987654")),
        hosts=("web1",),
        inventory=hosts.inventory(),
        environ={"XDG_RUNTIME_DIR": str(runtime)},
    )
    seen = run(ordered, cancel=started.exists)
    assert seen.result.outcome is Outcome.CANCELED
    assert not processes_with(str(runtime))
