"""Which rules hold for a run here, and is what it would do part of what was applied?

Where a trust root is pinned, only the applied pack is enforced: its policies are read from Git objects whose digest
is the one in the ledger, and whatever a plan was resolved from that is protected must be the same as in the pack. The
work tree decides nothing then. Without a pin, as on a developer's machine, the work tree's own policies hold.

Not here: judging the plan by them (`policy`), applying a pack (`_judging`, `_pack_book`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ExitCode, OpsError
from opsascode.policy import Reason
from opsascode.proof import Code, CodedProofError
from opsascode.repo import Source, is_protected, policies_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.proof import SignedRoot
    from opsascode.repo import ObjectStore, Policies, Repository, Snapshot
    from opsascode.run._packs import PackName
    from opsascode.run._plan import Plan

NOT_APPLIED: Final = "E_NOT_APPLIED"


class NotAppliedError(OpsError):
    """Nothing may run before a policy pack was applied."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for runs: the policies, the pack they are from, and its trust root; without them, the work tree."""

    policies: Policies
    snapshot: Snapshot | None = None
    protected: tuple[str, ...] = ()
    root: SignedRoot | None = None

    def unapplied(self, plan: Plan, root: Path) -> tuple[Reason, ...]:
        """Name what the plan was resolved from that is protected and not as it was applied."""
        return () if self.snapshot is None else tuple(_unapplied(self, plan, root, self.snapshot))


def rules_of_work_tree(repository: Repository) -> Rules:
    """Give the policies as they lie in the work tree.

    Raises:
        InvalidDocumentsError: a document in `policies/` has problems.
    """
    return Rules(policies=repository.policies())


def rules_of_snapshot(snapshot: Snapshot, protected: Sequence[str]) -> Rules:
    """Give what holds once a pack is applied.

    Raises:
        InvalidDocumentsError: a document of the pack cannot be used by this release.
    """
    return Rules(policies=policies_of(snapshot), snapshot=snapshot, protected=tuple(protected))


def rules_of_pack(store: ObjectStore, name: PackName, *, pin: str) -> Rules:
    """Give the policies of an applied pack, from blobs whose digest is the recorded one.

    Raises:
        ProofError: the repository does not hold the pack, or another content under its name.
        InvalidDocumentsError: a document of the pack cannot be used by this release.
    """
    if store.commit_of(name.commit) is None:
        raise CodedProofError(
            Code.REPOSITORY,
            f"the applied policy pack, commit {name.commit[:12]}, is not in this clone",
            advice="git fetch, so that the commit is here",
        )
    from opsascode.run._judging import chain_of_snapshot  # noqa: PLC0415 - nothing to judge where no trust root is pinned

    chain = chain_of_snapshot(store.snapshot(name.commit, ()), pin=pin)
    protected = chain.current.root.protected
    snapshot = store.snapshot(name.commit, protected)
    if snapshot.digest != name.scope:
        raise CodedProofError(
            Code.REPOSITORY,
            f"commit {name.commit[:12]} does not hold the policy pack that was applied",
            advice="the objects of this repository were tampered with: clone it again",
        )
    return replace(rules_of_snapshot(snapshot, protected), root=chain.current)


def _unapplied(rules: Rules, plan: Plan, root: Path, snapshot: Snapshot) -> Iterator[Reason]:
    for pin in (plan.source, *plan.pins):
        if is_protected(pin.path, rules.protected) and _digest(snapshot, pin.path) != pin.digest:
            yield _reason(rules, pin.path)
    beside = (Path(source).parent / each for source in plan.inventory_sources for each in _VARIABLES)
    variables = (each.as_posix() for each in beside)
    places = (_SETTINGS, *(tree.path for tree in plan.trees), *plan.inventory_sources, *variables)
    for place in dict.fromkeys(places):
        for path in sorted({*_files(root, place), *_applied_files(snapshot, place)}):
            if is_protected(path, rules.protected) and _digest(snapshot, path) != _on_disk(root, path):
                yield _reason(rules, path)
    if any(is_protected(f"{_INVENTORIES}/any", (glob,)) for glob in rules.protected):
        yield from _foreign_inventories(rules, plan)


_INVENTORIES: Final = "inventories"
_SETTINGS: Final = "opsascode.yml"
_VARIABLES: Final = ("group_vars", "host_vars")
"""Folders beside an inventory file: Ansible takes variables of hosts from them too, and with them where a host is."""


def _foreign_inventories(rules: Rules, plan: Plan) -> Iterator[Reason]:
    """Refuse an inventory that is not protected: it could put any host out of reach of a guardrail."""
    for source in plan.inventory_sources:
        if not is_protected(source, rules.protected) and not is_protected(f"{source}/any", rules.protected):
            yield Reason(
                code=NOT_APPLIED,
                message=f"the inventory {source} is not among the protected ones, and could hide hosts from guardrails",
                source="applied pack",
                mend="use an inventory of the repository, or leave inventories out of the trust root's protected paths",
            )


def _reason(rules: Rules, path: str) -> Reason:
    commit = rules.snapshot.commit[:12] if rules.snapshot else "none"
    return Reason(
        code=NOT_APPLIED,
        message=f"{path} is not as in the applied policy pack (commit {commit})",
        source="applied pack",
        mend="have the change reviewed, and apply it: opsascode policy apply",
    )


def _digest(snapshot: Snapshot, path: str) -> str | None:
    found = snapshot.files.get(path)
    return found.digest if found else None


def _on_disk(root: Path, path: str) -> str | None:
    if (root / path).is_symlink():
        return "a link"  # protected files are ordinary files
    try:
        return Source.of(path, (root / path).read_bytes()).digest
    except OSError:
        return None


def _files(root: Path, place: str) -> Iterator[str]:
    top = root / place
    if top.is_file() or top.is_symlink():
        yield place
    for directory, folders, names in os.walk(top):
        for name in (*names, *(each for each in folders if (Path(directory) / each).is_symlink())):
            yield (Path(directory) / name).relative_to(root).as_posix()


def _applied_files(snapshot: Snapshot, place: str) -> Iterator[str]:
    yield from (path for path in snapshot.files if path == place or path.startswith(f"{place}/"))
