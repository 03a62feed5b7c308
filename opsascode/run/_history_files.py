"""What did a run leave behind, and is it still what was recorded?

The files of a run (plan, results, journals, receipt) are looked up by the digests in its records and never believed
without them. Journals, outputs and texts of old runs may have been pruned, which a record in the ledger says.

Not here: which runs there are (`_history`), what a journal's lines mean (`_journal`), pruning (`_retention`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.proof import sha256_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from opsascode.proof import Json

PLAN_FILE: Final = "plan.json"
RESULTS_FILE: Final = "results.json"
RECEIPT_FILE: Final = "receipt.json"
JOURNAL_FILE: Final = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """The files of one run; `faults` says what is wrong with any of them, `notes` what is rightly gone."""

    plan: bytes | None
    results: bytes | None
    stages: tuple[PastStage, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStage:
    """One start of Ansible, as the record tells it; `journal` is None when it is not there, or not as recorded."""

    phase: str
    stage: str
    directory: Path
    outcome: str
    reason: str
    journal: Path | None


def read_named(path: Path, digest: str) -> bytes | None:
    """Read a file whose digest a record names; None when it is not there, or is another."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if sha256_digest(data) == digest else None


def read_files(
    directory: Path, start: Mapping[str, Json], end: Mapping[str, Json] | None, pruned: datetime | None
) -> RunFiles:
    """Read a run's files and hold each against the digest in its records."""
    faults: list[str] = []
    plan = _read(directory / PLAN_FILE, str(start.get("plan")), faults)
    if end is None:
        return RunFiles(plan=plan, results=None, stages=(), faults=tuple(faults), notes=())
    results = _read(directory / RESULTS_FILE, str(_part(end, "results").get("digest")), faults)
    gone: list[str] = []
    stages = tuple(_stage(directory, fields, faults, gone) for fields in _all_stages(end, results))
    notes = []
    if pruned:
        notes.append(f"journals and outputs were pruned on {pruned:%Y-%m-%d}, as a record in the ledger says")
    else:
        faults += gone
    return RunFiles(plan=plan, results=results, stages=stages, faults=tuple(faults), notes=tuple(notes))


def _stage(directory: Path, fields: Mapping[str, Json], faults: list[str], gone: list[str]) -> PastStage:
    place = directory / stage_directory(fields)
    journal = place / JOURNAL_FILE
    digest = str(fields.get("journal") or "")
    missing = not journal.exists()
    found = _read(journal, digest, gone if missing else faults) if digest else None
    return PastStage(
        phase=str(fields.get("phase")),
        stage=stage_name(fields),
        directory=place,
        outcome=str(fields.get("outcome")),
        reason=str(fields.get("reason") or ""),
        journal=None if found is None else journal,
    )


def stage_name(fields: Mapping[str, Json]) -> str:
    """Name a stage; records made before stages had names of their own named the wave."""
    return str(fields.get("stage") or fields.get("wave"))


def stage_directory(fields: Mapping[str, Json]) -> str:
    """Name the directory of a stage in the run's."""
    name = f"{fields.get('phase')}-{stage_name(fields)}"
    return name.replace("/", "_")


def _all_stages(end: Mapping[str, Json], results: bytes | None) -> Iterator[dict[str, Json]]:
    """Give the records of all stages: the results document holds them all, the end record the first of them."""
    whole = json.loads(results).get("stages") if results is not None else None
    stages = whole if isinstance(whole, list) else end.get("stages")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict):
            yield stage


def _read(path: Path, digest: str, faults: list[str]) -> bytes | None:
    name = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.append(f"{name} cannot be read: {error.strerror}")
        return None
    if sha256_digest(data) != digest:
        faults.append(f"{name} has been changed: its digest is not the one in the record")
        return None
    return data


def _part(predicate: Mapping[str, Json], key: str) -> dict[str, Json]:
    value = predicate.get(key)
    return value if isinstance(value, dict) else {}
