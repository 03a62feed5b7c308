"""Where does the team's log lie in Git?

Under a ref of its own, `refs/opsascode/ledger`, fast-forward only:

    entries/AAA/BBB/CCC/<first>.jsonl   one group, named by the place of its first entry; an empty file is no group
    checkpoint                          the newest signed checkpoint; what stands behind it waits for one
    cosigned                            the newest checkpoint that witnesses cosigned

One file for each group keeps every push small: a file that grew would be copied whole by each. What is pushed is made
from the remote's tip alone and thrown away when somebody was quicker, so nothing is here that the remote never had.

Everything in it may come from anybody who can push, and proves nothing. Not here: how it travels (`_append_ref`), and
whether any of it holds (`proof`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._append_ref import AppendRef, RefEntry, RefForm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LEDGER_REF: Final = "refs/opsascode/ledger"
CHECKPOINT_FILE: Final = "checkpoint"
COSIGNED_FILE: Final = "cosigned"
_GROUP: Final = re.compile(r"entries/[0-9]{3}/[0-9]{3}/[0-9]{3}/(?P<first>[0-9]{12})\.jsonl")
_MAX_NOTE: Final = 65536
_MAX_GROUP: Final = 257 * 65536
_FORM: Final = RefForm(
    ref=LEDGER_REF,
    paths=re.compile(f"{_GROUP.pattern}|{CHECKPOINT_FILE}|{COSIGNED_FILE}"),
    subject="opsascode ledger",
    noun="the team's ledger",
    advice="see spec.ledger.remote of opsascode.yml; what was recorded is kept here, and handed over by the next sync",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTip:
    """The team's log as the remote has it: its commit, the two notes, and the groups by their first entries."""

    commit: str | None
    checkpoint: str | None
    cosigned: str | None
    groups: Mapping[int, RefEntry]


class LedgerRef:
    """The ref of the team's log, of one clone and its remote."""

    def __init__(self, ref: AppendRef) -> None:
        """Use `of` instead."""
        self._ref = ref

    @classmethod
    def of(cls, root: Path, remote: str) -> LedgerRef:
        """Open it in the repository around a directory.

        Raises:
            ResolveError: there is no Git repository, git is missing, or the remote's name is none.
        """
        ref = AppendRef.of(root, remote, _FORM)
        if ref is None:
            raise ResolveError("the team's ledger lies in Git, and this is no Git repository", advice="git init")
        return cls(ref)

    @classmethod
    def here(cls, root: Path) -> LedgerRef:
        """Open it as it was fetched into a clone, so that no remote is looked at.

        Raises:
            ResolveError: there is no Git repository, or git is missing.
        """
        ref = AppendRef.of(root, None, _FORM)
        if ref is None:
            raise ResolveError("the team's ledger lies in Git, and this is no Git repository", advice="git init")
        return cls(ref)

    def fetch(self) -> LedgerTip:
        """Look at the remote; without one, at what is here.

        Raises:
            ResolveError: the remote cannot be read.
        """
        commit = self._ref.fetched()
        found = {each.path: each for each in (self._ref.entries(commit) if commit else ())}
        groups = {
            int(named["first"]): each
            for path, each in sorted(found.items())
            if (named := _GROUP.fullmatch(path)) and path == group_path(int(named["first"])) and each.size
        }
        large = next((each.path for each in groups.values() if each.size > _MAX_GROUP), None)
        if large is not None:
            raise ResolveError(f"{large} of the team's ledger is larger than any group may be")
        return LedgerTip(
            commit=commit,
            checkpoint=self._text(found.get(CHECKPOINT_FILE)),
            cosigned=self._text(found.get(COSIGNED_FILE)),
            groups=groups,
        )

    def read(self, tip: LedgerTip, start: int) -> tuple[tuple[bytes, ...], ...]:
        """Give the groups from entry `start` on, each as its lines.

        Raises:
            ResolveError: the repository lacks one of them.
        """
        chosen = {first: entry for first, entry in tip.groups.items() if first >= start}
        found = []
        for first, content in zip(chosen, self._ref.contents(list(chosen.values())), strict=True):
            if first == start:  # a file at any other place was put there by nobody who hands over
                found.append(tuple(content.removesuffix(b"\n").split(b"\n")))
                start += len(found[-1])
        return tuple(found)

    def push(self, tip: LedgerTip, files: Mapping[str, bytes]) -> tuple[LedgerTip, str]:
        """Put files on top of the remote's tip; say why the remote refused, or nothing once it has accepted.

        Raises:
            ResolveError: this clone cannot be written.
        """
        blobs = {path: self._ref.write(content) for path, content in files.items()}
        made = self._ref.commit(tip.commit, blobs, [tip.commit] if tip.commit else [])
        return replace(tip, commit=made), self._ref.pushed(made)

    def _text(self, entry: RefEntry | None) -> str | None:
        if entry is None:
            return None
        if entry.size > _MAX_NOTE:
            raise ResolveError(f"{entry.path} of the team's ledger is larger than any checkpoint may be")
        return self._ref.contents([entry])[0].decode(errors="replace")


def group_path(first: int) -> str:
    """Name the file of the group that starts with this entry."""
    name = f"{first:012d}"
    return f"entries/{name[:3]}/{name[3:6]}/{name[6:9]}/{name}.jsonl"


def group_files(first: int, groups: Sequence[Sequence[bytes]]) -> dict[str, bytes]:
    """Write groups as files, the first of them at entry `first`."""
    files: dict[str, bytes] = {}
    for lines in groups:
        files[group_path(first)] = b"\n".join(lines) + b"\n"
        first += len(lines)
    return files
