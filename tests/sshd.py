"""Real machines for the tests, as far as ssh can tell: one sshd on loopback, a port for each host.

The server has its own configuration, host key and accepted user key, all in one directory; nothing of the machine's
own ssh is used or changed, and the home of whoever logs in lies there too. Hosts differ by port only: they share the
file system of this machine.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHosts:
    """Hosts that real ssh reaches: by name their ports, and the files a client needs."""

    ports: dict[str, int]
    key: Path
    known_hosts: Path

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ports)

    def arguments(self, known_hosts: Path | None = None) -> str:
        """Options for ssh so that nothing of this machine's own configuration counts."""
        return f"-F none -o IdentitiesOnly=no -o UserKnownHostsFile={known_hosts or self.known_hosts}"

    def variables(self, host: str, *, agent: bool = False, known_hosts: Path | None = None) -> dict[str, object]:
        """The inventory variables of one host; with `agent` the key must come from an ssh-agent."""
        variables: dict[str, object] = {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.ports[host],
            "ansible_user": getpass.getuser(),
            "ansible_python_interpreter": PYTHON,
            "ansible_ssh_common_args": self.arguments(known_hosts),
        }
        return variables if agent else {**variables, "ansible_ssh_private_key_file": str(self.key)}

    def inventory(self, **options: object) -> dict[str, object]:
        """An inventory of all hosts, in the shape of Ansible's YAML inventories."""
        return {"all": {"hosts": {host: self.variables(host, **options) for host in self.ports}}}  # type: ignore[arg-type]  # options are those of `variables`


@contextlib.contextmanager
def ssh_hosts(directory: Path, *names: str) -> Iterator[SshHosts]:
    """Start an sshd for the named hosts; it is gone afterwards."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    host_key = (directory / "host_key.pub").read_text().rsplit(" ", 1)[0]
    hosts = SshHosts(ports=ports, key=directory / "user_key", known_hosts=directory / "known_hosts")
    hosts.known_hosts.write_text("".join(f"[127.0.0.1]:{port} {host_key}\n" for port in ports.values()))
    # It detaches itself: what a session leaves running must not become a process below the tests.
    subprocess.run([_sshd(), "-E", directory / "log", "-f", _configuration(directory, ports)], check=True)
    server = _wait_for(next(iter(ports.values())), directory / "sshd.pid")
    try:
        yield hosts
    finally:
        os.kill(server, signal.SIGTERM)


@contextlib.contextmanager
def ssh_agent(directory: Path, key: Path) -> Iterator[str]:
    """Start an ssh-agent that holds `key`; gives the path of its socket."""
    path = str(directory / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):  # noqa: PTH110 - a socket
            time.sleep(0.01)
        subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": path}, check=True)
        yield path
    finally:
        agent.terminate()
        agent.wait(10)


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    return _free_ports(1)[0]


def _configuration(directory: Path, ports: dict[str, int]) -> Path:
    lines = [
        *(f"ListenAddress 127.0.0.1:{port}" for port in ports.values()),
        f"HostKey {directory}/host_key",
        f"AuthorizedKeysFile {directory}/user_key.pub",
        f"PidFile {directory}/sshd.pid",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin yes",
        "MaxStartups 100",
        f"SetEnv HOME={directory}",
        "Subsystem sftp internal-sftp",
    ]
    path = directory / "sshd_config"
    path.write_text("\n".join(lines) + "\n")
    return path


def _sshd() -> str:
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not found:
        raise FileNotFoundError("these tests need sshd (Debian: openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(port: int, pid_file: Path) -> int:
    for _ in range(500):
        with (
            contextlib.suppress(ConnectionRefusedError, FileNotFoundError, ValueError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return int(pid_file.read_text())
        time.sleep(0.01)
    raise TimeoutError("sshd did not listen")
