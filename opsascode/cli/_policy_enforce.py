"""How does a policy pack reach the systems that enforce it? By the runbook its PolicyPack document binds.

The runbook gets the pack's verified files in a directory of their own, made from Git's objects and removed afterwards.
It runs like any other: judged by the guardrails of the new pack, recorded, and undone when it fails; then nothing is
applied.

Not here: running (`_execute`), recording the pack (`_policy_acts`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._context import cache_directory
from opsascode.cli._execute import carry_out, order_for
from opsascode.cli._judging import approvals_for, judged, tell_refusal
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.repo import PolicyPack, Snapshot, Value
    from opsascode.run import Judgement, Resolution, Rules


def push_pack(face: Face, judgement: Judgement) -> str | int | None:
    """Run the bound runbook; gives its run, None when no runbook is bound, or the exit code of a failure."""
    from opsascode.policy import Refusal  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import pack_of  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Manner, rules_of_snapshot  # noqa: PLC0415 - keeps --help quick

    snapshot = judgement.new.snapshot
    pack = pack_of(snapshot)
    if pack is None or pack.enforce is None:
        return None
    with tempfile.TemporaryDirectory(prefix="opsascode-pack-") as scratch:
        directory = Path(scratch)
        write_snapshot(snapshot, directory)
        # By the rules of the new pack: those in force may be the very ones that let nothing through any more.
        rules = rules_of_snapshot(snapshot, judgement.old.chain.current.root.protected)
        resolution = _resolve(face, pack, rules, snapshot, directory)
        verdict = judged(face, resolution, rules)
        if isinstance(verdict, Refusal):
            return tell_refusal(face, verdict, resolution)
        order = order_for(face, resolution, verdict, Manner())
        code = carry_out(face, order)
        shutil.rmtree(directory, ignore_errors=True)
    if code != ExitCode.DONE:
        click.echo("nothing is applied: the pack did not reach the systems that enforce it", err=True)
        return code
    return order.circumstances.run


def write_snapshot(snapshot: Snapshot, directory: Path) -> None:
    """Write the files of a pack as Git's objects hold them, readable by their owner only."""
    for path, file in snapshot.files.items():
        place = directory / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.write_bytes(file.data)
        place.chmod(0o600)


def _resolve(face: Face, pack: PolicyPack, rules: Rules, snapshot: Snapshot, directory: Path) -> Resolution:
    """Resolve the runbook; it is told the directory, the commit and the version where it asks for them."""
    from opsascode.run import Request, resolve  # noqa: PLC0415 - keeps --help quick

    enforce = pack.enforce
    if enforce is None:
        raise ValueError(pack)
    document = face.repository.runbook(enforce.runbook)
    asked = {each.name for each in document.parameters}
    told: dict[str, Value] = {
        "pack_directory": str(directory),
        "pack_commit": snapshot.commit,
        "pack_version": pack.metadata.version or "",
    }
    values = {**{name: value for name, value in told.items() if name in asked}, **enforce.parameters}
    request = Request(
        runbook=document,
        limit=enforce.limit,
        values=values,
        rules=lambda _: rules,
        trusted=face.ruling,
        asked=approvals_for(face),
    )
    return resolve(face.repository, request, environ=os.environ, cache=cache_directory())
