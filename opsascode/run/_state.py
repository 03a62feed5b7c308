"""Where does this machine keep its key, its ledger and its runs?

`opsascode.yml` may name the state directory and the machine key; without it they lie where the XDG Base Directory
specification puts state. Everything is private to the user (0700).

Not here: what is in the ledger (`proof`), in a run's directory (`_perform`), or in the file of lives (`_local`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from opsascode.errors import ResolveError, UsageError
from opsascode.proof import Ledger, ensure_machine_key, load_signer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.proof import PublicKey, Signer
    from opsascode.repo import Repository
    from opsascode.run._local import LocalDispatcher
    from opsascode.run._locks import LockBook

_RUN_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
LATEST: Final = "latest"
SPACE_NEEDED: Final = 16 * 1024 * 1024
_PROBE: Final = b"can this be written?\n" * 200


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state directory of one user on one machine.

    `locks` is where lock files lie, if not in the usual place; `scope` is whose lock names are meant.
    """

    directory: Path
    key_uri: str
    key_base: Path
    locks: Path | None = None
    scope: str = ""

    @classmethod
    def of(cls, repository: Repository, environ: Mapping[str, str]) -> State:
        """Find the state directory and key that the repository's settings and the environment name."""
        settings = repository.settings
        directory = _inside(repository.root, settings.state) if settings.state else _xdg_state(environ)
        return cls(
            directory=directory,
            key_uri=settings.machine_key or f"file:{directory / 'keys' / 'machine'}",
            key_base=repository.root,
            locks=_inside(repository.root, settings.locks) if settings.locks else None,
            scope=settings.name or str(repository.root),
        )

    @property
    def ledger_directory(self) -> Path:
        """The ledger's own directory."""
        return self.directory / "ledger"

    @property
    def high_water(self) -> Path:
        """The file that remembers the largest ledger this machine has seen, apart from the ledger itself."""
        return self.directory / "high-water"

    def signer(self, environ: Mapping[str, str]) -> Signer:
        """Give the machine key, made on first use when it is a file of ours.

        Raises:
            ProofError: the key cannot be read, is weak, or is readable by others.
        """
        scheme, _, place = self.key_uri.partition(":")
        if scheme == "file":
            path = _inside(self.key_base, place)
            if not path.exists():
                return ensure_machine_key(path, comment=f"opsascode@{socket.gethostname()}")
        return load_signer(self.key_uri, base=self.key_base, environ=environ)

    def public_keys(self, environ: Mapping[str, str]) -> tuple[PublicKey, ...]:
        """Give the keys that signed this machine's ledger."""
        return (self.signer(environ).public_key,)

    def ledger_keys(self, environ: Mapping[str, str]) -> tuple[PublicKey, ...]:
        """Give the keys to read the ledger of this machine with; none where there is no ledger, and none is made."""
        return self.public_keys(environ) if self.has_ledger() else ()

    def ledger(self, signer: Signer) -> Ledger:
        """Open the ledger, made on first use.

        Raises:
            LedgerError: the ledger is not the one that was signed.
            ResolveError: the state directory cannot be written.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Ledger.open(self.ledger_directory, signer=signer, high_water=self.high_water)
        except PermissionError as error:
            msg = f"the state directory {self.directory} cannot be written: {error.strerror}"
            raise ResolveError(msg, advice="set spec.state in opsascode.yml or XDG_STATE_HOME") from error

    def dispatcher(self) -> LocalDispatcher:
        """Give what knows which runs are under way; nothing is made before the first of them."""
        from opsascode.run._local import LocalDispatcher  # noqa: PLC0415 - SQLite, which few questions need

        return LocalDispatcher(self.directory / "life.sqlite")

    def lock_book(self) -> LockBook:
        """Give what knows which names the runs of this machine hold."""
        from opsascode.run._locks import LockBook  # noqa: PLC0415 - few questions need it

        return LockBook(self.locks)

    def scoped(self, names: Iterable[str]) -> tuple[str, ...]:
        """Give lock names as the whole machine knows them: those of this ops repository, in whichever directory."""
        scope = quote(self.scope, safe="/ ")
        return tuple(f"{scope}:{name}" for name in names)

    def ensure_writable(self, need_bytes: int = SPACE_NEEDED) -> None:
        """Make sure, by really writing, that a run can be recorded to its end.

        Raises:
            ResolveError: the state directory cannot be written, or has too little space.
        """
        probe = self.directory / f".probe-{secrets.token_hex(8)}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_PROBE)
                    file.flush()
                    os.fsync(descriptor)
            finally:
                probe.unlink(missing_ok=True)
            found = os.statvfs(self.directory)
        except OSError as error:
            advice = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "make it writable"
            raise ResolveError(
                f"the state directory {self.directory} cannot be written: {error.strerror}; nothing was run",
                advice=f"{advice}, or set spec.state in opsascode.yml or XDG_STATE_HOME",
            ) from error
        free = found.f_bavail * found.f_frsize
        if free < need_bytes:
            raise ResolveError(
                f"the state directory {self.directory} has {free // 1024} KiB left, and a run is not begun with less "
                f"than {need_bytes // 1024} KiB; nothing was run",
                advice="free some space, or set spec.state in opsascode.yml or XDG_STATE_HOME",
            )

    def has_ledger(self) -> bool:
        """Whether anything was ever recorded here."""
        return self.ledger_directory.is_dir()

    def run_directory(self, run: str) -> Path:
        """Give the directory of one run, whether it exists or not.

        Raises:
            UsageError: the text is no run id.
        """
        if not _RUN_ID.fullmatch(run):
            msg = f"«{run}» is not a run id"
            raise UsageError(msg, advice="`opsascode runs list` shows the ids")
        return self.directory / "runs" / run


def _xdg_state(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_STATE_HOME", "")
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - HOME of the given environment comes first
    return (Path(base) if base.startswith("/") else home / ".local" / "state") / "opsascode"


def _inside(base: Path, place: str) -> Path:
    return base / Path(place).expanduser()
