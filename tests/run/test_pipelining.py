"""Where sudo insists on a terminal a run goes on without pipelining, and nowhere else; nothing is run twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opsascode.repo._ansible_settings import ansible_settings
from opsascode.run._pipelining import probed
from tests.sshd import SshHosts, ssh_hosts

from .staging import order, playbook, run, shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ssh

SUDO = """#!/bin/sh
echo "$@" >> {log}
if [ {strict} = yes ] && ! (: < /dev/tty) 2> /dev/null; then
  echo "sudo: sorry, you must have a tty to run sudo" >&2
  exit 1
fi
while [ "$1" != /bin/sh ]; do shift; done
exec "$@"
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), "strict", "open", "closed") as found:
        yield found


def test_a_host_whose_sudo_needs_a_terminal_gets_one(tmp_path: Path, hosts: SshHosts) -> None:
    inventory = hosts.inventory()
    for host in hosts.names:
        program = tmp_path / f"sudo-{host}"
        program.write_text(SUDO.format(log=tmp_path / f"log-{host}", strict="yes" if host == "strict" else "no"))
        program.chmod(0o755)
        if host == "closed":
            program.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
        inventory["all"]["hosts"][host]["ansible_become_exe"] = str(program)  # type: ignore[index]  # shape is known
    counted = tmp_path / "counted"
    counted.mkdir()
    task = shell("count", f"echo once >> {counted}/{{{{ inventory_hostname }}}}", become=True)
    settings = ansible_settings("[privilege_escalation]\nbecome_allow_same_user = True\n")
    ordered = order(
        tmp_path,
        playbook(*probed([task])),
        hosts=hosts.names,
        inventory=inventory,
        settings=settings.rendered(tmp_path, tmp_path),
    )
    seen = run(ordered)
    found = {host: result.status.value for host, result in seen.results("count").items()}
    assert found == {"strict": "changed", "open": "changed", "closed": "failed"}, seen.result
    assert {path.name: path.read_text() for path in counted.iterdir()} == {"strict": "once\n", "open": "once\n"}
    assert "Missing sudo password" in seen.results("count")["closed"].message
    asked = {host: (tmp_path / f"log-{host}").read_text().splitlines() for host in ("strict", "open")}
    assert len(asked["open"]) == 2
    assert len([line for line in asked["open"] if "AnsiballZ" in line]) == 0
    assert len([line for line in asked["strict"] if "AnsiballZ" in line]) == 1


def test_only_a_play_that_becomes_somebody_is_asked() -> None:
    task = shell("count", "true")
    assert probed([task]) == [task]
    assert probed([{"block": [{**task, "become": True}]}])[-1] == {"block": [{**task, "become": True}]}
    assert len(probed([{"block": [{**task, "become": True}]}])) == 2
