"""What does one start of Ansible need, and where does it lie while it runs?

A stage has a fresh private directory beside its journal (playbook, inventory, limit, what ansible-runner writes), and
one in memory for secret variables and ssh's control sockets. Both are gone when the stage is over; `clear_remains` does
the same for a stage whose processes were all killed.

Not here: running (`_engine`, `_child`); which variables of the caller pass (`_environment`).
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets as randomness
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import EngineError
from opsascode.repo import DOCUMENT_NAME
from opsascode.run import _processes
from opsascode.run._journal import JournalReader
from opsascode.run._redaction import secret_pattern

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Mapping

    from opsascode.proof import Json
    from opsascode.run._access import Access

CALLBACKS: Final = Path(__file__).parent / "ansible"
JOURNAL_NAME: Final = "journal.jsonl"
OUTPUT_NAME: Final = "output.log"
TEXTS_NAME: Final = "texts"
MARK: Final = "OPSASCODE_STAGE"
_PRIVATE_PREFIX: Final = ".private-"
_LONGEST_BASE: Final = 60
_SHOWN_NAME: Final = 60
_MISLEADING: Final = re.compile(r"\A(?:[!&@]|\Z)|[,\s\x00-\x1f\x7f-\x9f]")
_INSTALLED_COLLECTIONS: Final = ("~/.ansible/collections", "/usr/share/ansible/collections")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOrder:
    """All that one start of Ansible needs.

    `hosts` are exactly those that must be acted on. `inventory` is a document, or the path of one. `secrets` are extra
    variables that must appear nowhere. `directory` is where journal.jsonl and output.log stay. `project` is Ansible's
    working directory, `settings` its ansible.cfg; `content` is where the playbook is put while it runs, for relative
    paths in it begin there (default: a directory with nothing else). `environment` is the minimal one.

    `kept` is what earlier stages registered: host, name, value. `access` are the passwords and key of the run. `facts`
    is a directory that the stages of a run share for gathered facts. `inherit` are descriptors of ours (locks) that the
    supervised child holds open too. `leftovers` are tasks, by host and mark, that an earlier stage left in doubt: what
    runs of them is ended before this stage begins.
    """

    playbook: bytes
    inventory: bytes | Path
    hosts: tuple[str, ...]
    directory: Path
    project: Path
    environment: Mapping[str, str] = field(repr=False)
    content: Path | None = None
    secrets: Mapping[str, Json] = field(default_factory=dict, repr=False)
    roles_path: tuple[Path, ...] = ()
    collections_path: tuple[Path, ...] = ()
    forks: int = 5
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    timeout_seconds: float | None = None
    grace_seconds: float = 10.0
    kept: Mapping[str, Mapping[str, Json]] = field(default_factory=dict, repr=False)
    access: Access | None = None
    facts: Path | None = None
    inherit: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    leftovers: tuple[tuple[str, str], ...] = ()
    settings: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The places of one stage, and the identity its processes are known by."""

    ident: str
    private: Path
    volatile: Path
    playbook: Path
    journal: Path
    output: Path
    descriptor: int
    reader: JournalReader
    pattern: str | None
    known: frozenset[int]

    @property
    def mark(self) -> bytes:
        """What every process of the stage has in its environment, unless it cleared that."""
        return f"{MARK}={self.ident}".encode()

    def remains(self) -> set[int]:
        """Find the living processes of the stage when its child can no longer tell."""
        return _processes.marked(self.mark) | _processes.adopted(self.mark, set(self.known))


def unusable(hosts: Iterable[str]) -> tuple[str, ...]:
    """Give the names that Ansible, where it reads the name of a host, would take for other hosts, or for none."""
    return tuple(host for host in hosts if _MISLEADING.search(host) or (":" in host and not _is_address(host)))


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def prepare(order: StageOrder, stack: contextlib.ExitStack) -> Stage:
    """Make the places of a stage; `stack` removes them again.

    Raises:
        EngineError: the journal exists already, or the name of a host would reach others.
    """
    if misleading := unusable(order.hosts):
        raise EngineError(
            f"Ansible would not take {misleading[0][:_SHOWN_NAME]!a} for the name of one host",
            advice="rename it in the inventory: no comma, colon, space or control character, no ! & @ at the start",
        )
    order.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = order.directory.resolve()
    journal = directory / JOURNAL_NAME
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise EngineError(f"{journal} exists already", advice="each stage needs a directory of its own") from None
    stack.callback(os.close, descriptor)
    ident = randomness.token_hex(16)
    private = directory / f"{_PRIVATE_PREFIX}{ident}"
    private.mkdir(mode=0o700)
    stack.callback(_processes.wipe, str(private))
    volatile = _volatile_directory(order.environment)
    stack.callback(_processes.wipe, str(volatile))
    playbook = (order.content or private) / f".opsascode-{ident}.yml"
    stack.callback(playbook.unlink, missing_ok=True)
    stage = Stage(
        ident=ident,
        private=private,
        volatile=volatile,
        playbook=playbook,
        journal=journal,
        output=directory / OUTPUT_NAME,
        descriptor=descriptor,
        reader=JournalReader(descriptor),
        pattern=secret_pattern({**order.secrets, **(order.access.secrets() if order.access else {})}),
        known=frozenset(_processes.children()),
    )
    _write_inputs(order, stage)
    return stage


def _volatile_directory(environment: Mapping[str, str]) -> Path:
    """Make a private directory, in memory where there is one, for secrets and for the control sockets of ssh.

    Its path leaves room for the name of a socket: the whole may have 107 bytes.
    """
    for base in (environment.get("XDG_RUNTIME_DIR"), "/dev/shm", environment.get("TMPDIR"), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        if base and len(os.fsencode(base)) < _LONGEST_BASE and os.access(base, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="ops-", dir=base))
    raise EngineError(
        "no directory for ssh's control sockets can be written to", advice="TMPDIR may name one, of at most 60 bytes"
    )


def _write_inputs(order: StageOrder, stage: Stage) -> None:
    """Put playbook, inventory and limit where Ansible finds them."""
    private = stage.private
    _write(stage.playbook, order.playbook)
    if isinstance(order.inventory, bytes):
        _write(private / DOCUMENT_NAME, order.inventory)
    _write(private / "limit", "".join(f"{host}\n" for host in order.hosts).encode())
    _write(private / "ansible.cfg", order.settings)
    _write(private / "volatile", os.fsencode(stage.volatile))


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def child_environment(order: StageOrder, stage: Stage) -> dict[str, str]:
    """Give the child's environment: what the order gives, then what makes a run the same everywhere.

    Settings are those of the order, or none at all. Neither these nor plugins come from the home
    directory or the machine; installed collections do. Host keys are always checked. The rest keeps Ansible's files
    inside the directories of the stage and its output plain.
    """
    environment = {
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_CONFIG": str(stage.private / "ansible.cfg"),
        **order.environment,
        MARK: stage.ident,
        "ANSIBLE_HOME": str(stage.private / "home"),
        "ANSIBLE_PERSISTENT_CONTROL_PATH_DIR": str(stage.volatile / "pc"),
        "ANSIBLE_LOCAL_TEMP": str(stage.private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(stage.volatile),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "AWX_LIB_DIRECTORY": str(CALLBACKS),
        "OPSASCODE_JOURNAL": str(stage.journal),
        "OPSASCODE_OUTPUT": str(stage.private / "output"),
        "OPSASCODE_TEXTS": str(stage.journal.parent / TEXTS_NAME),
    }
    if order.facts:
        environment |= {
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(order.facts),
            "ANSIBLE_CACHE_PLUGIN_TIMEOUT": "0",
            "ANSIBLE_GATHERING": "smart",
        }
    if order.roles_path:
        environment["ANSIBLE_ROLES_PATH"] = os.pathsep.join(map(str, order.roles_path))
    environment["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(
        map(str, (*order.collections_path, *_INSTALLED_COLLECTIONS))
    )
    return environment


def clear_remains(directory: Path) -> bool:
    """End and remove what is left of a stage of which nobody could take care; False when a process resists.

    What Ansible printed is removed too: without the secrets it cannot be told which parts of it may be kept.
    """
    down = True
    for private in directory.glob(f"{_PRIVATE_PREFIX}*"):
        mark = f"{MARK}={private.name.removeprefix(_PRIVATE_PREFIX)}".encode()
        if _processes.sweep(partial(_processes.marked, mark)):
            _processes.wipe(_volatile_of(private), str(private))
        else:
            down = False
    return down


def _volatile_of(private: Path) -> str:
    """Read where the stage's directory in memory is; an empty text, which names no directory, if that is unknown."""
    try:
        return os.fsdecode((private / "volatile").read_bytes())
    except FileNotFoundError:
        return ""
