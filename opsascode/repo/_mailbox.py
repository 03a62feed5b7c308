"""Where do people on different machines leave requests and approvals for each other?

In the Git repository, under a ref of its own: `refs/opsascode/asks` holds `requests/<run>/<stage>.json` and
`approvals/<run>/<digest>.json`. How it travels, and that it only grows, is `_append_ref`'s.

Everything in it may come from anybody who can push: it carries statements and proves nothing. Not here: what the files
mean (`run`), and whether they count (`policy`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._append_ref import AppendRef, RefForm

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.repo._append_ref import RefEntry

ASKS_REF: Final = "refs/opsascode/asks"
_PATH: Final = re.compile(
    r"requests/(?P<asked>[a-z0-9][a-z0-9-]{0,63})/(?P<stage>[0-9]{1,6}\.[0-9]{1,6})\.json"
    r"|approvals/(?P<answered>[a-z0-9][a-z0-9-]{0,63})/(?P<digest>[0-9a-f]{64})\.json"
)
_FORM: Final = RefForm(
    ref=ASKS_REF,
    paths=_PATH,
    subject="opsascode asks",
    noun="a request or an approval",
    advice="see spec.approvals.remote of opsascode.yml, or use files: opsascode approve --out FILE",
)
_RUNS_READ: Final = 200
_APPROVALS_READ: Final = 4096
_MAX_APPROVAL: Final = 65536
_MAX_REQUEST: Final = 17 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Something somebody left: for a request `name` is its stage, for an approval its digest."""

    run: str
    name: str
    content: bytes


class Mailbox:
    """The asks of one clone, and of its remote if there is one."""

    def __init__(self, ref: AppendRef) -> None:
        self._ref = ref

    @classmethod
    def of(cls, root: Path, remote: str | None) -> Mailbox | None:
        """Open the mailbox of the repository around a directory; None where there is no Git.

        Raises:
            ResolveError: git is missing, or the remote's name is none.
        """
        ref = AppendRef.of(root, remote, _FORM)
        return None if ref is None else cls(ref)

    @property
    def remote(self) -> str | None:
        """The name of the remote that others read, if there is one."""
        return self._ref.remote

    def post_request(self, run: str, stage: str, content: bytes) -> None:
        """Leave a request; one that is there already stays as it is.

        Raises:
            ResolveError: it cannot be written, or did not reach the remote; then the next post takes it along.
        """
        self._ref.add({f"requests/{run}/{stage}.json": content})

    def post_approval(self, run: str, digest: str, content: bytes) -> None:
        """Leave an approval, named by the digest of its statement.

        Raises:
            ResolveError: as for a request.
        """
        self._ref.add({f"approvals/{run}/{digest.removeprefix('sha256:')}.json": content})

    def requests(self, run: str | None = None) -> tuple[Posted, ...]:
        """Give the requests of a run, or of the latest runs."""
        asked = [(str(found["asked"]), each) for each in self._ref.entries() if (found := _parts(each))["asked"]]
        # A gate's id has its time behind a word; it must not push away runs that are newer.
        latest = sorted({each for each, _ in asked}, key=lambda each: each.removeprefix("gate-"), reverse=True)
        runs = {run} if run is not None else set(latest[:_RUNS_READ])
        chosen = [entry for each, entry in asked if each in runs and entry.size <= _MAX_REQUEST]
        return tuple(
            Posted(run=str(_parts(entry)["asked"]), name=str(_parts(entry)["stage"]), content=content)
            for entry, content in zip(chosen, self._ref.contents(chosen), strict=True)
        )

    def approvals(self, run: str) -> tuple[Posted, ...]:
        """Give what was left as approvals for a run, unjudged.

        Raises:
            ResolveError: there are so many that somebody is hiding one among them.
        """
        chosen = [
            each for each in self._ref.entries() if _parts(each)["answered"] == run and each.size <= _MAX_APPROVAL
        ]
        if len(chosen) > _APPROVALS_READ:
            raise ResolveError(
                f"{len(chosen)} approvals are left for {run}, which nobody can need",
                advice="find out who pushed them, and bring the right ones as files: --approval FILE",
            )
        return tuple(
            Posted(run=run, name=str(_parts(entry)["digest"]), content=content)
            for entry, content in zip(chosen, self._ref.contents(chosen), strict=True)
        )

    def fetch(self) -> None:
        """Take in what others left at the remote; without a remote nothing happens.

        Raises:
            ResolveError: the remote cannot be read.
        """
        self._ref.fetch()


def _parts(entry: RefEntry) -> dict[str, str | None]:
    found = _PATH.fullmatch(entry.path)
    return found.groupdict() if found else {}
