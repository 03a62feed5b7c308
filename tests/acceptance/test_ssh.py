"""The main job over real ssh: hosts are reached, changed, undone, refused or not found, and the record tells which."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.run.staging import processes_with
from tests.sshd import SshHosts, free_port, ssh_agent, ssh_hosts
from tests.world import COMMAND, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ssh
NAMES = ("web1", "web2", "web3")
DEPLOY = """
- id: reached
  title: The host is reached by ssh on its own port
  check: {command: "printenv SSH_CONNECTION", expect: {matches: " {{ ansible_port }}$"}}
- id: write
  title: Write the release
  task: {ansible.builtin.copy: {content: "{{ release }}\\n", dest: "{{ place }}/{{ inventory_hostname }}", mode: "0640"}}
  undo: {task: {ansible.builtin.file: {path: "{{ place }}/{{ inventory_hostname }}", state: absent}}}
- id: read
  title: The release is there
  check: {command: "cat {{ place }}/{{ inventory_hostname }}", expect: {contains: "{{ release }}"}}
- id: accept
  title: Nobody refuses the release
  check: {that: "inventory_hostname != refused", message: "{{ inventory_hostname }} does not want {{ release }}"}
"""
PARAMETERS = '{release: {type: string}, place: {type: string}, refused: {type: string, default: ""}}'


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), *NAMES) as found:
        yield found


@pytest.fixture
def fleet(tmp_path: Path, hosts: SshHosts) -> World:
    """An ops repository whose inventory has three hosts behind ssh, and a runbook that deploys to them."""
    world = new_world(tmp_path / "home")
    inventory(world, hosts.inventory())
    world.runbook(
        "deploy",
        DEPLOY,
        parameters=PARAMETERS,
        targets="{hosts: all, waves: [1, '100%'], variables: [ansible_port]}",
        on_failure="undo",
    )
    world.runbook("ping", "- id: ping\n  check: {command: 'true'}", targets="{hosts: all}")
    world.commit()
    return world


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


def inventory(world: World, content: dict[str, object]) -> None:
    content["all"]["vars"] = {"ansible_pipelining": True}  # type: ignore[index]  # shape is known
    world.write("inventories/local.yml", yaml.safe_dump(content))
    world.commit("inventory")


def results(world: World) -> dict[str, dict[str, str]]:
    shown = world.ops("runs", "show", "--format", "json").json
    return {host: {step["step"]: step["status"] for step in steps} for host, steps in shown["results"].items()}


def record(world: World) -> dict[str, object]:
    found = world.ops("runs", "list", "--format", "json").json[0]
    assert isinstance(found, dict)
    return found


def written(place: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in place.iterdir()}


def test_hosts_are_changed_wave_by_wave_and_the_record_verifies(fleet: World, place: Path) -> None:
    answer = fleet.ops("run", "deploy", "-e", "release=r7", "-e", f"place={place}", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert written(place) == dict.fromkeys(NAMES, ("r7\n", 0o640))
    first, second = answer.out.index("wave 1 of 2: 1 host\n"), answer.out.index("wave 2 of 2: 2 hosts\n")
    assert "web1" in answer.out[first:second]
    assert "web2" not in answer.out[first:second]
    each = {"reached": "ok", "write": "changed", "read": "ok", "accept": "ok"}
    assert results(fleet) == {"web1": each, "web2": each, "web3": each}
    assert record(fleet)["outcome"] == "succeeded"
    assert fleet.ops("verify", "latest").code == 0


def test_a_second_run_finds_everything_as_it_should_be(fleet: World, place: Path) -> None:
    words = ("run", "deploy", "-e", "release=r7", "-e", f"place={place}", "--limit", "web1", "-y")
    assert fleet.ops(*words).code == 0
    assert fleet.ops(*words).code == 0
    assert {steps["write"] for steps in results(fleet).values()} == {"ok"}


def test_a_limit_reaches_only_the_hosts_it_names(fleet: World, place: Path) -> None:
    answer = fleet.ops("run", "deploy", "-e", "release=r7", "-e", f"place={place}", "-y", "--limit", "web2")
    assert answer.code == 0, answer.out
    assert set(written(place)) == {"web2"}


def test_what_a_wave_completed_is_undone_over_ssh_when_one_of_its_hosts_fails(fleet: World, place: Path) -> None:
    answer = fleet.ops("run", "deploy", "-e", "release=r8", "-e", f"place={place}", "-e", "refused=web3", "-y")
    assert answer.code == 1, answer.out + answer.err
    assert "web3 does not want r8" in answer.out
    assert set(written(place)) == {"web1"}
    found = results(fleet)
    assert found["web3"]["undo.write"] == found["web2"]["undo.write"] == "changed"
    assert "undo.write" not in found["web1"]
    end = record(fleet)["end"]
    assert isinstance(end, dict)
    assert (end["outcome"], end["undone"]) == ("failed", True)


def test_a_host_that_cannot_be_reached_fails_the_run_and_stops_no_other_host(
    fleet: World, hosts: SshHosts, place: Path
) -> None:
    content = hosts.inventory()
    content["all"]["hosts"]["gone"] = {**hosts.variables("web1"), "ansible_port": free_port()}  # type: ignore[index]  # shape is known
    inventory(fleet, content)
    fleet.runbook("deploy", DEPLOY, parameters=PARAMETERS, targets="{hosts: all, variables: [ansible_port]}")
    answer = fleet.ops("run", "deploy", "-e", "release=r7", "-e", f"place={place}", "-y")
    assert answer.code == 1, answer.out + answer.err
    assert "UNREACHABLE" in answer.out
    assert "Connection refused" in answer.out
    assert "1 host could not be reached: gone" in answer.out
    assert set(written(place)) == set(NAMES)
    assert results(fleet)["gone"] == {"reached": "unreachable"}
    assert {steps["accept"] for host, steps in results(fleet).items() if host != "gone"} == {"ok"}
    end = record(fleet)["end"]
    assert isinstance(end, dict)
    assert end["outcome"] == "failed"
    assert end["results"]["unreachable"] == 1
    assert fleet.ops("verify", "latest").code == 0


def test_a_host_key_that_nobody_knows_is_refused_whatever_the_environment_says(
    fleet: World, hosts: SshHosts, tmp_path: Path
) -> None:
    unknown = tmp_path / "known_hosts"
    unknown.touch()
    inventory(fleet, hosts.inventory(known_hosts=unknown))
    answer = fleet.ops("run", "ping", "-y", ANSIBLE_HOST_KEY_CHECKING="False")
    assert answer.code == 1, answer.out
    assert "Host key verification failed" in answer.out
    assert unknown.read_text() == ""
    assert results(fleet) == {host: {"ping": "unreachable"} for host in NAMES}


def test_the_callers_ssh_agent_is_used_and_no_key_file_is_needed(fleet: World, hosts: SshHosts, tmp_path: Path) -> None:
    inventory(fleet, hosts.inventory(agent=True))
    with ssh_agent(tmp_path, hosts.key) as socket:
        answer = fleet.ops("run", "ping", "-y", SSH_AUTH_SOCK=socket)
    assert answer.code == 0, answer.out
    without = fleet.ops("run", "ping", "-y")
    assert without.code == 1
    assert "Permission denied" in without.out


def test_the_compiled_playbook_makes_the_same_changes_with_plain_ansible(
    fleet: World, place: Path, tmp_path: Path
) -> None:
    words = ("deploy", "-e", "release=r9", "-e", f"place={place}")
    compiled = fleet.ops("plan", *words, "--playbook")
    assert compiled.code == 0, compiled.err
    ours = fleet.ops("run", *words, "-y")
    assert ours.code == 0, ours.out
    after_ours = written(place)
    for path in place.iterdir():
        path.unlink()
    playbook = fleet.root / "compiled.yml"
    playbook.write_text(compiled.out)
    command = [COMMAND.parent / "ansible-playbook", "-i", "inventories/local.yml", playbook]
    with tempfile.TemporaryDirectory(prefix="cp-") as sockets:  # the name of a socket has at most 107 bytes
        variables = {**fleet.variables(), "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
        plain = subprocess.run(
            command, cwd=fleet.root, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
    assert plain.returncode == 0, plain.stdout
    assert written(place) == after_ours == dict.fromkeys(NAMES, ("r9\n", 0o640))


def test_ctrl_c_during_a_remote_task_leaves_no_process_here_and_closes_the_record(fleet: World, tmp_path: Path) -> None:
    marker = tmp_path / "begun"
    fleet.runbook(
        "long",
        f"- id: wait\n  task: {{ansible.builtin.shell: 'echo $$ > {marker}; exec sleep 600'}}",
        targets="{hosts: web1}",
    )
    process = fleet.start("run", "long", "-y")
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    remote = int(marker.read_text())
    try:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, out + err
        assert processes_with(f"HOME={fleet.home}\0") == set()
        assert record(fleet)["outcome"] == "canceled"
        assert fleet.ops("verify", "--all").code == 0
    finally:
        end(remote)


def end(pid: int) -> None:
    """End what a lost connection may leave on the far side, which here is this machine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
