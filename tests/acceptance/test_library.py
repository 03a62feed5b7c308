"""The runbooks that come with opsascode do what they say, on the lab's real services, and undo it when they cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
MONTH = 30 * 24 * 3600


class Lab(World):
    """A copy of this repository's library and lab, with ports and a directory of its own."""

    ports: dict[str, int]

    @property
    def hosts(self) -> Path:
        return self.home / "lab"

    def lab(self, *words: str) -> None:
        command = [sys.executable, str(self.root / "lab" / "lab"), *words]
        subprocess.run(command, env=self.variables(), check=True, stdout=subprocess.DEVNULL, timeout=60)

    def health(self, host: str) -> str:
        """The status that /health answers, and the site that is served."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[host]}/health", timeout=5) as answer:
                return f"{answer.status} {json.load(answer)['site']}"
        except urllib.error.HTTPError as answer:
            with answer:
                return str(answer.code)
        except OSError:
            return "no answer"

    def keys(self, host: str, pattern: str) -> set[str]:
        command = ["redis-cli", "-s", str(self.hosts / host / "redis.sock"), "KEYS", pattern]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    def served_certificate(self, host: str) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self.ports[f"{host}/https"]))

    def certificate(self, host: str) -> str:
        return (self.hosts / host / "tls" / "cert.pem").read_text()


def free_ports(number: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports


@pytest.fixture(scope="module")
def lab_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    plain = new_world(tmp_path_factory.mktemp("lab") / "w")
    world = Lab(home=plain.home, environment={"LAB_ROOT": str(plain.home / "lab")})
    for name in ("playbooks", "policies", "inventories", "lab", "opsascode.yml", "ansible.cfg"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, world.root / name, **({"dirs_exist_ok": True} if copy is shutil.copytree else {}))
    ports = free_ports(6)
    names = [f"web{number}{kind}" for number in (1, 2, 3) for kind in ("", "/https")]
    world.ports = dict(zip(names, ports, strict=True))
    lines = (
        f"web{n} http_port={world.ports[f'web{n}']} https_port={world.ports[f'web{n}/https']}\n" for n in (1, 2, 3)
    )
    world.write("inventories/lab/hosts.ini", "[web]\n" + "".join(lines) + "\n[lab:children]\nweb\n")
    world.commit("the library and the lab")
    world.lab("up")
    try:
        yield world
    finally:
        world.lab("down")


@pytest.fixture
def lab(lab_world: Lab) -> Iterator[Lab]:
    """The lab, whole and healthy, whatever a test before this one broke."""
    lab_world.lab("up")
    yield lab_world
    lab_world.git("reset", "--quiet", "--hard")
    lab_world.git("clean", "--quiet", "--force", "-d")


def test_the_library_and_its_policies_are_sound(lab: Lab) -> None:
    assert lab.ops("check").code == 0


def test_ping_reaches_every_host_and_changes_nothing(lab: Lab) -> None:
    done = lab.ops("run", "ping")
    assert done.code == 0, done.out
    assert "changed" not in re.sub("0 changed", "", done.out)


def test_a_crashed_service_is_restarted(lab: Lab) -> None:
    lab.lab("break", "web1")
    assert lab.health("web1") == "no answer"
    done = lab.ops("run", "service-restart", "-e", "service=web", "--limit", "web1")
    assert (done.code, lab.health("web1")) == (0, "200 site"), done.out


def test_a_service_that_stays_ill_is_replaced_by_its_fallback(lab: Lab) -> None:
    lab.lab("break", "web2", "site")
    assert lab.health("web2") == "503"
    done = lab.ops("run", "service-restart", "-e", "service=web", "-e", "fallback=web-standby", "--limit", "web2")
    assert (done.code, lab.health("web2")) == (1, "200 site-previous"), done.out


def test_a_service_nobody_knows_is_not_touched(lab: Lab) -> None:
    done = lab.ops("run", "service-restart", "-e", "service=wbe", "--limit", "web1")
    assert (done.code, lab.health("web1")) == (1, "200 site")
    assert "no such process" in done.out


def test_old_files_are_removed_and_young_ones_kept(lab: Lab) -> None:
    lab.lab("break", "web3", "logs")
    logs = lab.hosts / "web3" / "logs"
    (logs / "young.log.1").write_text("written today")
    assert lab.health("web3") == "503"
    done = lab.ops("run", "disk-cleanup", "-e", "max_used=100", "--limit", "web3")
    assert (done.code, lab.health("web3")) == (0, "200 site"), done.out
    assert {entry.name for entry in logs.iterdir()} == {"web.log", "redis.log", "young.log.1"}


def test_files_that_are_missed_come_back_from_quarantine(lab: Lab) -> None:
    page = lab.hosts / "web1" / "site" / "index.html"
    os.utime(page, (page.stat().st_mtime - MONTH,) * 2)
    lab.write("inventories/lab/host_vars/web1.yml", 'cleanup_roots: ["{{ lab_home }}/logs", "{{ lab_home }}/site"]\n')
    done = lab.ops("run", "disk-cleanup", "-e", 'patterns=["*.html"]', "--limit", "web1")
    assert (done.code, lab.health("web1")) == (1, "200 site"), done.out
    assert [entry.name for entry in page.parent.iterdir()] == ["index.html"]


def test_a_certificate_is_renewed_and_served_and_then_left_alone(lab: Lab) -> None:
    before = lab.certificate("web1")
    first = lab.ops("run", "certificate-renewal", "--limit", "web1")
    renewed = lab.certificate("web1")
    assert (first.code, renewed != before) == (0, True), first.out
    assert lab.served_certificate("web1").split() == renewed.split()
    trusting = ssl.create_default_context(cafile=lab.hosts / "ca" / "ca.pem")
    with urllib.request.urlopen(f"https://127.0.0.1:{lab.ports['web1/https']}/health", context=trusting) as answer:
        assert answer.status == 200
    assert lab.ops("run", "certificate-renewal", "--limit", "web1").code == 0
    assert lab.certificate("web1") == renewed


def test_the_old_certificate_comes_back_where_the_new_one_is_not_served(lab: Lab) -> None:
    before = lab.certificate("web2")
    lab.write("inventories/lab/host_vars/web2.yml", f"tls_port: {lab.ports['web2']}\n")  # plain HTTP there
    done = lab.ops("run", "certificate-renewal", "--limit", "web2")
    assert (done.code, lab.certificate("web2")) == (1, before), done.out
    assert lab.served_certificate("web2").split() == before.split()
    assert {entry.name for entry in (lab.hosts / "web2" / "tls").iterdir()} == {"cert.pem", "key.pem"}


def test_only_matching_keys_leave_the_cache(lab: Lab) -> None:
    assert lab.keys("web3", "page:*")
    done = lab.ops("run", "cache-clear", "-e", "keys=page:*", "--limit", "web3")
    assert (done.code, lab.keys("web3", "page:*")) == (0, set()), done.out
    assert len(lab.keys("web3", "session:*")) == 5


def test_more_keys_than_allowed_are_left_where_they_are(lab: Lab) -> None:
    done = lab.ops("run", "cache-clear", "-e", "keys=*", "-e", "max_keys=10", "--limit", "web1")
    assert (done.code, len(lab.keys("web1", "*"))) == (1, 105)
    assert "more than 10 keys match *" in done.out


def test_cleared_keys_come_back_when_a_later_step_fails(lab: Lab) -> None:
    lab.runbook(
        "release",
        """
        - {id: clear, runbook: cache-clear, with: {keys: "page:*"}}
        - {id: fails, check: {command: "false"}}
        """,
        on_failure="undo",
    )
    before = lab.keys("web2", "*")
    done = lab.ops("run", "release", "--limit", "web2")
    assert (done.code, lab.keys("web2", "*")) == (1, before), done.out
    assert "undo.clear.clear" in done.out


def test_diagnostics_are_fetched_into_a_private_directory(lab: Lab, tmp_path: Path) -> None:
    there = tmp_path / "diagnostics"
    done = lab.ops(
        "run", "collect-diagnostics", "-e", f"destination={there}", "-e", 'services=["web"]', "--limit", "web1"
    )
    assert done.code == 0, done.out
    assert there.stat().st_mode & 0o777 == 0o700
    (archive,) = there.iterdir()
    with tarfile.open(archive) as opened:
        log = opened.extractfile("diagnostics/log-web.txt")
        assert log is not None
        assert b"serving site on port" in log.read()
