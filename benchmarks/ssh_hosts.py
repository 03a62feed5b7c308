"""What does it cost to reach fifty hosts by real ssh, beside Ansible as it comes?

The hosts are addresses 127.0.1.N of this machine, behind an sshd of our own; so the work of the hosts is done here too,
on the same processors, and counts for both. Ansible gets the compiled playbook, the same inventory and as many forks;
each run of either opens its connections anew.

Run as a program it measures this alone: `python benchmarks/ssh_hosts.py [HOSTS [ROUNDS]]`.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, contest, seconds, table, wall
from worlds import ANSIBLE, OPSASCODE, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Cost, Place

HOSTS, ROUNDS, TASKS = 50, 2, 5
_LISTENERS = 16  # sshd listens on no more addresses than these
_SETTINGS = """\
apiVersion: opsascode/v1
kind: Repository
metadata: {name: measured}
spec: {inventory: inventories/ssh.yml}
"""
_RUNBOOK = """\
apiVersion: opsascode/v1
kind: Runbook
metadata: {name: five, title: Measure five commands, version: 1.0.0}
spec:
  targets: {hosts: all}
  steps:
"""


def fifty_ssh_hosts(scratch: Path, hosts: int = HOSTS, rounds: int = ROUNDS) -> Iterator[Line]:
    """Run five commands on each host: our defaults beside Ansible's."""
    place = new_place(scratch)
    with sshd(scratch / "sshd", [f"127.0.1.{number}" for number in range(1, hosts + 1)]) as inventory:
        _repository(place, inventory)
        ours, plain = contest(
            f"{hosts} ssh hosts, {TASKS} commands",
            (rounds, lambda: place.once(OPSASCODE, "run", "five", "--yes")),
            (rounds, lambda: _plain(place)),
        )
    times = wall(plain) / wall(ours)
    yield Line(
        what=f"{hosts} ssh hosts x {TASKS} commands",
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(plain))} ansible-playbook",
        ratio=f"{times:.2f} x faster",
        target="≥ 1.8 x faster",
        holds=times >= 1.8,
    )


@contextlib.contextmanager
def sshd(directory: Path, addresses: list[str]) -> Iterator[dict[str, object]]:
    """Start sshd on these addresses of loopback; gives an inventory of them, and is gone afterwards."""
    directory.mkdir(mode=0o700)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    port = _free_port()
    host_key = (directory / "host_key.pub").read_text().rsplit(" ", 1)[0]
    known = directory / "known_hosts"
    known.write_text("".join(f"[{address}]:{port} {host_key}\n" for address in addresses))
    with contextlib.ExitStack() as stack:
        for start in range(0, len(addresses), _LISTENERS):
            stack.enter_context(_server(directory, addresses[start : start + _LISTENERS], port))
        yield {
            "all": {
                "vars": {
                    "ansible_port": port,
                    "ansible_user": getpass.getuser(),
                    "ansible_ssh_private_key_file": str(directory / "user_key"),
                    "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known}",
                    "ansible_python_interpreter": "/usr/bin/python3",
                },
                "hosts": {f"host{number:02}": {"ansible_host": each} for number, each in enumerate(addresses, start=1)},
            }
        }


@contextlib.contextmanager
def _server(directory: Path, addresses: list[str], port: int) -> Iterator[None]:
    lines = [
        *(f"ListenAddress {address}:{port}" for address in addresses),
        f"HostKey {directory}/host_key",
        f"AuthorizedKeysFile {directory}/user_key.pub",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin yes",
        "MaxStartups 100",
        f"SetEnv HOME={directory}",
        "Subsystem sftp internal-sftp",
    ]
    path = directory / f"sshd_config-{addresses[0]}"
    path.write_text("\n".join(lines) + "\n")
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "this needs sshd (Debian: openssh-server)"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen([program, "-D", "-e", "-f", path], stderr=subprocess.DEVNULL)
    try:
        _wait_for(addresses[-1], port, server)
        yield
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(address: str, port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        assert server.poll() is None, "sshd did not start"
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((address, port)):
            return
        time.sleep(0.01)
    raise TimeoutError("sshd did not listen")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _repository(place: Place, inventory: dict[str, object]) -> None:
    root = place.directory
    for name in ("playbooks", "inventories"):
        (root / name).mkdir()
    (root / "opsascode.yml").write_text(_SETTINGS)
    (root / ".gitignore").write_text("/*.yml\n!/opsascode.yml\n")
    (root / "inventories/ssh.yml").write_text(json.dumps(inventory))
    steps = "".join(
        f"    - id: step-{number}\n      task: {{ansible.builtin.command: 'true'}}\n" for number in range(TASKS)
    )
    (root / "playbooks/five.yml").write_text(_RUNBOOK + steps)
    place.answer("git", "init", "--quiet", "--initial-branch", "main")
    place.answer("git", "add", "--all")
    author = ("-c", "user.name=Alex Example", "-c", "user.email=alex@example.org")
    place.answer("git", *author, "commit", "--quiet", "--message", "begin")
    (root / "five.yml").write_text(place.answer(OPSASCODE, "plan", "five", "--playbook"))


def _plain(place: Place) -> Cost:
    with tempfile.TemporaryDirectory(prefix="cp-") as sockets:
        control = f"ANSIBLE_SSH_CONTROL_PATH_DIR={sockets}"
        cost = place.once("env", control, ANSIBLE, "-i", "inventories/ssh.yml", "five.yml")
    assert "unreachable=0    failed=0" in place.said()
    return cost


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="opsascode-bench-") as made:
        print(table(tuple(fifty_ssh_hosts(Path(made) / "ssh", *chosen))))
