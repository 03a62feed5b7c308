"""Does anything come back that was superseded?

Of one thing only the plainest is said: a file that is byte by byte what it was (R2) is not searched for documents
(R3), a document that is what it was is not searched for rules (R4). A field that has again a value it had (R5) is
always said.

A version must not fall, and not stand for other content than it did (R6). How far it rises is nobody's business:
between two applied states any number of versions may have been skipped, and of dates nobody can say which comes next.

Not here: how the past is remembered (`repo`), and what may come back all the same (`_classify`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opsascode.policy._diff import named
from opsascode.policy._direction import same
from opsascode.policy._forms import shown
from opsascode.policy._levels import Finding, Level
from opsascode.policy._trust_change import is_root_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.policy._diff import Comparison, DocumentKey
    from opsascode.repo import DocumentMeaning, Past, Seen, Snapshot

_DATE: Final = re.compile(r"([0-9]{8})(?:\.([1-9][0-9]{0,3}))?")
_SEMANTIC: Final = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)


def returns(past: Past, candidate: Snapshot, compared: Comparison) -> tuple[list[Finding], list[Finding]]:
    """Find what comes back (R1 to R5), and versions that fall or stand for something else (R6)."""
    files = [each for each in compared.diff.files if not is_root_file(each.path)]
    scope = past.scopes.get(candidate.digest)
    found: list[Finding] = []
    if scope is not None and files:
        message = f"everything protected is again what {_superseded(scope)}"
        found.append(Finding(level=Level.R1, path="", subject="everything", message=message, commit=scope.commit))
    whole: set[str] = set()
    for each in files:
        seen = past.files.get(each.after or "")
        if seen is not None and each.before != each.after:
            whole.add(each.path)
            said = f"is, byte by byte, what {_at(seen, each.path)}"
            found.append(_finding(Level.R2, each.path, each.path, said, seen))
    for key, new in sorted(compared.new.documents.items()):
        old = compared.old.documents.get(compared.renamed.get(key, key))
        if old is None or old.digest != new.digest:
            if new.path not in whole:
                found += _document(past, key, new, old)
            found += _values(past, key, new, old)
    return found, [*_versions(past, compared)]


def _document(past: Past, key: DocumentKey, new: DocumentMeaning, old: DocumentMeaning | None) -> Iterator[Finding]:
    """R3 and R4: the document, or a rule in it."""
    seen = past.documents.get(new.digest)
    if seen is not None:
        yield _finding(Level.R3, new.path, named(key), f"equals what {_superseded(seen)}", seen)
        return
    seen = past.nameless.get(new.nameless)
    if seen is not None and (old is None or old.nameless != new.nameless):
        yield _finding(Level.R3, new.path, named(key), f"equals, but for its name, what {_at(seen, '')}", seen)
        return
    kept = set() if old is None else {*old.rules.values()}
    for rule, digest in sorted(new.rules.items()):
        seen = past.rules.get(digest)
        if seen is not None and digest not in kept:
            yield _finding(
                Level.R4, new.path, f"{named(key)} rule {shown(rule)}", f"equals what {_superseded(seen)}", seen
            )


def _values(past: Past, key: DocumentKey, new: DocumentMeaning, old: DocumentMeaning | None) -> Iterator[Finding]:
    """R5: a protected field goes back to a value it had; the past holds those within the window only."""
    for (kind, name, path), left in past.values.items():
        if (kind, name) != key:
            continue
        now = new.leaves.get(path)
        # Where there was no document, there was no value either.
        if same(None if old is None else old.leaves.get(path), now):
            continue
        seen = next((each for value, each in left if same(value, now)), None)
        if seen is not None:
            value = "none" if now is None else shown(str(now))
            subject = f"{named(key)} {shown('.'.join(map(str, path)))}"
            yield _finding(Level.R5, new.path, subject, f"is {value} again, as {_superseded(seen)}", seen)


def _versions(past: Past, compared: Comparison) -> Iterator[Finding]:
    """R6, for each document that is not what it was."""
    for key, new in sorted(compared.new.documents.items()):
        old = compared.old.documents.get(compared.renamed.get(key, key))
        if old is not None and (old.digest, old.version) == (new.digest, new.version):
            continue
        seen = past.versions.get(key, ())
        before = old.version if old is not None else (seen[-1] if seen else None)
        changed = old is not None and old.digest != new.digest
        # What a version stood for is told by the past; what it stands for now, by the old side.
        other = (changed and new.version == before) or (new.version in seen and new.digest not in past.documents)
        if old is not None and not changed:
            other = False
        why = _version_fault(before, new.version, other=other)
        if why:
            message = f"{shown(new.path)} {named(key)} {why}"
            yield Finding(level=Level.R6, path=new.path, subject=named(key), message=message)


def _version_fault(before: str | None, now: str | None, *, other: bool) -> str:
    """Say what is wrong with a version; `other`: it stood for other content."""
    if now is None:
        return f"no longer says its version, which was {shown(before)}" if before else ""
    if other:
        return f"is version {shown(now)}, which stood for other content (new content needs a higher metadata.version)"
    first, second = _ordered(before or now), _ordered(now)
    if first is None or second is None or first[0] != second[0]:
        return f"is version {shown(now)}, which cannot be compared with {shown(before or now)}"
    return f"is version {shown(now)}, lower than {shown(before or now)}" if second < first else ""


def _ordered(version: str) -> tuple[str, tuple[int, ...], tuple[tuple[int, int, str], ...]] | None:
    """Give what versions of one form are compared by (semver.org, 11; of a date, the number within the day)."""
    date = _DATE.fullmatch(version)
    if date is not None:
        return "date", (int(date[1]), int(date[2] or 1)), ()
    semantic = _SEMANTIC.fullmatch(version)
    if semantic is None:
        return None
    numbers = tuple(int(semantic[each]) for each in (1, 2, 3))
    if semantic[4] is None:
        return "semantic", numbers, ((2, 0, ""),)
    parts = ((0, int(each), "") if each.isdigit() else (1, 0, each) for each in semantic[4].split("."))
    return "semantic", numbers, tuple(parts)


def _at(seen: Seen, path: str) -> str:
    """Say what superseded it, and where it lay when that was elsewhere."""
    place = "" if seen.path == path else f" (it was {shown(seen.path)})"
    return f"{_superseded(seen)}{place}"


def _superseded(seen: Seen) -> str:
    return f"{seen.superseded_by[:12]} superseded on {seen.when:%Y-%m-%d}"


def _finding(level: Level, path: str, subject: str, said: str, seen: Seen) -> Finding:
    place = shown(path) if subject == path else f"{shown(path)} {subject}"
    return Finding(level=level, path=path, subject=subject, message=f"{place} {said}", commit=seen.commit)
