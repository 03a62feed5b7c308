"""Which tool wrote a document, and what does it promise in our words?

Documents of one import are read together, as those of OpenSLO name each other across files. What is neither OpenSLO v1
nor Sloth's is noted.

Not here: the tools themselves (`_openslo`, `_sloth`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.repo import InvalidDocumentsError, Problem, load_source
from opsascode.slo._exchange import Carried, Notes, Reading
from opsascode.slo._openslo import is_openslo, read_openslo
from opsascode.slo._sloth import is_sloth, read_sloth

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.slo._exchange import Draft, Wishes


def import_slos(files: Iterable[tuple[str, bytes]], wishes: Wishes) -> Carried:
    """Make documents of reliability policies of files, given by path and bytes, and note what they do not hold.

    Raises:
        InvalidDocumentsError: a file is no YAML as it is read here, or nothing in the files is known.
    """
    notes = Notes()
    openslo: list[Reading] = []
    sloth: list[Reading] = []
    unknown: list[Problem] = []
    for path, data in files:
        source = load_source(data, path)
        if source.problems:
            raise InvalidDocumentsError(source.problems, what=f"{path} cannot be imported")
        lines = tuple(data.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"))
        for document in source.documents:
            reading = Reading(document=document, lines=lines, notes=notes)
            if is_openslo(document):
                openslo.append(reading)
            elif is_sloth(document):
                sloth.append(reading)
            else:
                unknown.append(_unknown(reading))
    if not openslo and not sloth:
        raise InvalidDocumentsError(unknown, what="nothing can be imported")
    drafts = [*read_openslo(openslo, wishes), *(draft for each in sloth for draft in read_sloth(each, wishes))]
    for problem in unknown:
        notes.lost(problem.position, "a document", problem.message)
    return Carried(documents=tuple(each.document() for each in _renamed(drafts)), notes=notes.in_order)


def _unknown(reading: Reading) -> Problem:
    said = reading.text("apiVersion") or reading.text("version")
    message = f"it is neither OpenSLO v1 nor Sloth's prometheus/v1, but {said or 'says no version'}"
    mend = "write apiVersion: openslo/v1 or version: prometheus/v1"
    return Problem(position=reading.place(), code="unknown-format", message=message, mend=mend)


def _renamed(drafts: list[Draft]) -> list[Draft]:
    """Give policies of the same name different ones."""
    taken: set[str] = set()
    for draft in drafts:
        base, count = draft.name, 1
        while draft.name in taken:
            count += 1
            draft.name = f"{base[:60]}-{count}"
        taken.add(draft.name)
    return drafts
