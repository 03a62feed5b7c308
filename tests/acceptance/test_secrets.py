"""A canary is a secret like no other. Runs use it and print it in every form; afterwards no byte of it is found.

While a run goes on, the arguments and environments of all processes are looked at; afterwards every file below HOME,
the state, the cache and the directories for temporary files, and what the command said. The passwords of Ansible are
canaries too. Everything goes through the installed command, on this machine and over real ssh.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
import yaml

from tests.sshd import ssh_hosts
from tests.world import COMMAND, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY, TEMPORARY = Path("/dev/shm"), Path("/tmp")  # noqa: S108 - looked at, not written to
PLAIN = "IFS= read -r t || :; printf '%s\\n' \"$t\"; printf '%s\\n' \"$t\" >&2"
FORMS = """\
import base64, json, sys, urllib.parse as url
text = sys.stdin.read()
print(*(base64.b64encode(f"{start}{text}{end}".encode()).decode() for start in ("", "a", "ab", "abc") for end in ("", ":end")))
print(json.dumps({"t": text}), url.quote(text), url.quote(text, safe=""), url.quote_plus(text))
"""


def printing(step: str, script: str, more: str = "") -> str:
    arguments = json.dumps({"cmd": script, "stdin": "{{ token }}", "stdin_add_newline": False})
    return f"- id: {step}\n  task: {{ansible.builtin.shell: {arguments}}}\n{more}"


UNDO = f"  undo: {{task: {{ansible.builtin.shell: {json.dumps({'cmd': PLAIN, 'stdin': '{{ token }}'})}}}}}\n"
EVERYTHING = (
    printing("plain", PLAIN, "  register: said\n" + UNDO)
    + printing("forms", f"/usr/bin/python3 -c '{FORMS}'")
    + '- id: write\n  task: {ansible.builtin.copy: {content: "old {{ token }} text\\n", dest: "{{ place }}/{{ inventory_hostname }}", mode: \'0600\'}}\n'
    + '- id: shown\n  task: {ansible.builtin.debug: {msg: "{{ said.stdout }} and {{ token | b64encode }} {{ token | urlencode }}"}}\n'
    + "- id: opened\n  check: {that: \"sealed_word == 'opened'\"}\n"
)
FAILING = EVERYTHING + (
    '- id: refuse\n  check: {that: "token is none", message: "no {{ token }}: {{ token | b64encode }}"}\n'
)
WAITING = printing("plain", PLAIN, UNDO) + printing(
    "wait", f'{PLAIN}; touch "$PLACE/begun"; sleep 600', '  environment: {PLACE: "{{ place }}"}\n'
)
PARAMETERS = "{token: {type: string, secret: true}, place: {type: string}}"


def new_canary(name: str) -> str:
    return f'{name}/{secrets.token_hex(6)}"+ä&{secrets.token_hex(4)}'


def forms(canary: str) -> set[bytes]:
    """Every form of a canary that must not be found."""
    texts = {
        canary,
        json.dumps(canary)[1:-1],
        json.dumps(canary, ensure_ascii=False)[1:-1],
        quote(canary),
        quote(canary, safe=""),
        quote_plus(canary),
        repr(canary)[1:-1],
    }
    found = {text.encode() for text in texts} | {canary.encode().hex().encode()}
    for text in (canary, json.dumps(canary)[1:-1]):
        data = text.encode()
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + data)
            found.add(encoded[-(-shift * 4 // 3) : (shift + len(data)) * 4 // 3 - 1])
    return found


@dataclass
class Looker:
    """Looks at all processes of this machine, and at the files of secrets in memory, until told to stop."""

    needles: re.Pattern[bytes]
    seen: set[str] = field(default_factory=set)
    modes: set[int] = field(default_factory=set)
    looks: int = 0

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=self._look, args=(done,))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _look(self, done: threading.Event) -> None:
        while not done.is_set():
            self.looks += 1
            for pid in filter(str.isdecimal, (entry.name for entry in Path("/proc").iterdir())):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        data = Path("/proc", pid, name).read_bytes()
                        if self.needles.search(data):
                            self.seen.add(f"{name}: {data!r}")
            for name in glob(f"{MEMORY}/ops-*/*"):  # noqa: PTH207 - unlike Path's, it bears a directory that goes meanwhile
                with contextlib.suppress(OSError):
                    path = Path(name)
                    if path.is_file() and self.needles.search(path.read_bytes()):
                        self.modes.add(stat.S_IMODE(path.stat().st_mode))
            time.sleep(0.02)


@dataclass(kw_only=True)
class Secretive:
    """A world in which all that is secret is a canary."""

    world: World
    place: Path
    keys: Path
    canaries: dict[str, str]
    begun: float
    said: list[str] = field(default_factory=list)
    looker: Looker = field(init=False)

    def __post_init__(self) -> None:
        self.looker = Looker(self.needles)
        for name, canary in self.canaries.items():
            (self.keys / name).write_text(canary + "\n")

    @property
    def needles(self) -> re.Pattern[bytes]:
        found = {form for canary in self.canaries.values() for form in forms(canary)}
        return re.compile(b"|".join(map(re.escape, sorted(found))))

    @property
    def access(self) -> tuple[str, ...]:
        return (
            f"--secret=token=file:{self.keys}/token",
            f"--become-password-file={self.keys}/become",
            f"--vault-id=prod@{self.keys}/vault",
        )

    def ops(self, *words: str) -> int:
        with self.looker.looking():
            answer = self.world.ops(*words, *self.access)
        self.said.append(answer.out + answer.err)
        return answer.code

    def left(self) -> list[str]:
        """Where a byte of a canary is left."""
        found = [f"output: {text[-2000:]}" for text in self.said if self.needles.search(text.encode())]
        for directory in {
            self.world.home.parent,
            Path(tempfile.gettempdir()),
            TEMPORARY,
            MEMORY,
            Path("/run/lock"),
        }:
            for path in self._files(directory):
                with contextlib.suppress(OSError):
                    data = path.read_bytes() + os.fsencode(path)
                    if self.needles.search(data):
                        found.append(str(path))
        return sorted(set(found))

    def _files(self, directory: Path) -> Iterator[Path]:
        for parent, below, names in os.walk(directory):
            below[:] = [each for each in below if not each.startswith("pytest-of-")]  # what other tests make meanwhile
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(OSError):
                    if (
                        stat.S_ISREG(path.lstat().st_mode)
                        and path.lstat().st_mtime >= self.begun - 1
                        and not self._wanted(path)
                    ):
                        yield path

    def _wanted(self, path: Path) -> bool:
        """Whether a canary is meant to be there: where it comes from, and what the task wrote on purpose."""
        return path.is_relative_to(self.place) or path.is_relative_to(self.keys)


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.ssh)])
def secretive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Secretive]:
    place, keys = tmp_path / "place", tmp_path / "keys"
    place.mkdir()
    keys.mkdir()
    world = new_world(tmp_path / "home")
    made = Secretive(
        world=world,
        place=place,
        keys=keys,
        canaries={name: new_canary(name) for name in ("token", "become", "vault")},
        begun=time.time(),
    )
    with contextlib.ExitStack() as stack:
        if request.param == "ssh":
            hosts = stack.enter_context(ssh_hosts(tmp_path / "sshd", "web1", "web2"))
            world.write(
                "inventories/local.yml", yaml.safe_dump({"all": {"children": {"web": hosts.inventory()["all"]}}})
            )
        for name, steps in (("everything", EVERYTHING), ("failing", FAILING), ("waiting", WAITING)):
            world.runbook(
                name,
                steps,
                parameters=PARAMETERS,
                targets="{hosts: 'web1,web2', variables: [sealed_word]}",
                on_failure="undo",
            )
        sealed = world.write("inventories/group_vars/web.yml", "sealed_word: opened\n")
        command = [Path(sys.executable).parent / "ansible-vault", "encrypt", "--encrypt-vault-id=prod"]
        subprocess.run([*command, f"--vault-id=prod@{keys}/vault", sealed], check=True, capture_output=True)
        world.commit()
        yield made


def test_the_search_finds_what_it_looks_for(secretive: Secretive) -> None:
    canary = secretive.canaries["token"]
    done = subprocess.run([sys.executable, "-c", FORMS], input=canary, capture_output=True, text=True, check=True)
    for said in done.stdout.split():
        assert secretive.needles.search(said.encode()) or said == '{"t":', said
    (secretive.world.home / "left").write_text(f"x{canary}x")
    assert secretive.left() == [str(secretive.world.home / "left")]


def assert_clean(secretive: Secretive) -> None:
    assert secretive.looker.seen == set()
    assert secretive.looker.modes <= {0o600}
    assert secretive.left() == []


def test_a_run_that_prints_its_secrets_in_every_form_leaves_none(secretive: Secretive) -> None:
    words = ("-e", f"place={secretive.place}", "-y")
    assert secretive.ops("run", "everything", *words, "-vvvv", "--diff") == 0, secretive.said[-1]
    for host in ("web1", "web2"):
        written = (secretive.place / host).read_text()
        assert written == f"old {secretive.canaries['token']} text\n"
    assert secretive.looker.looks > 20
    assert secretive.looker.modes == {0o600}
    assert_clean(secretive)
    assert secretive.ops("run", "everything", *words, "--check", "--diff") == 0, secretive.said[-1]
    assert secretive.ops("run", "failing", *words, "-vvvv") == 1, secretive.said[-1]
    assert "[secret]" in secretive.said[-1]
    assert_clean(secretive)


def test_an_undo_by_hand_leaves_none(secretive: Secretive) -> None:
    assert secretive.ops("run", "everything", "-e", f"place={secretive.place}", "-y") == 0, secretive.said[-1]
    run = secretive.world.ops("runs", "list", "--format", "json").json[0]["run"]
    assert secretive.ops("runs", "undo", run, "-y") == 0, secretive.said[-1]
    assert_clean(secretive)


def test_a_run_that_is_stopped_leaves_none(secretive: Secretive) -> None:
    words = ["run", "waiting", "-e", f"place={secretive.place}", "-y", "-vvvv", *secretive.access]
    with secretive.looker.looking():
        process = subprocess.Popen(
            [COMMAND, *words], cwd=secretive.world.root, env=secretive.world.variables(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (secretive.place / "begun").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    secretive.said.append(said)
    assert process.returncode == 130, said
    assert_clean(secretive)
