"""Are the documents of this repository valid, all of them and together?

Each file is analysed by itself, or found in the cache by the digest of its bytes; then all are held against each other.
A cold check of many files is shared by two processes. The cache is one file per repository: private to the user,
written in one go, ignored when it is damaged or could have been written by somebody else, and never needed for a
right answer.

Not here: how problems are shown (`cli`).
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsascode.errors import UsageError
from opsascode.repo._analysis import analyse, analysis_key
from opsascode.repo._ansible_settings import read_ansible_settings
from opsascode.repo._crosscheck import cross_check
from opsascode.repo._facts import FileFacts
from opsascode.repo._problem import Problem, errors_among, in_order, quoted
from opsascode.repo._requirements import read_requirements
from opsascode.repo._walk import Found, find_documents, find_under, read_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.repo._repository import Repository

Answers = dict[str, list[Any]]  # digest of a file's bytes -> its facts, as JSON holds them

_SHARED_FROM = 48  # files: below this a second process costs more than it brings
_CACHE_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found: how many files and documents were looked at, and every problem in order.

    `valid` says whether all documents are, those that were not reported on too; `about` names the files that were
    reported on, None for all. `digest` stands for all that was read.
    """

    files: int
    documents: int
    problems: tuple[Problem, ...]
    cached: int = 0
    valid: bool = True
    about: frozenset[str] | None = None
    digest: str = ""

    @property
    def ok(self) -> bool:
        """Whether the documents are valid; warnings do not make them invalid."""
        return not errors_among(self.problems)


def check_repository(
    repository: Repository, paths: Sequence[Path] | None = None, *, cache: Path | None = None
) -> CheckReport:
    """Check all documents, or report only on the given files and directories, held against all others.

    `cache` is a directory to keep answers in between two checks.

    Raises:
        UsageError: a given path does not exist or lies outside the repository.
    """
    root = repository.root
    found = find_documents(root)
    problems = list(found.problems)
    wanted: set[str] | None = None
    elsewhere: set[Problem] = set()  # what is wrong on the way to named files
    if paths:
        wanted = set()
        for path in paths:
            more = _named(root, path)
            wanted |= more.paths
            found.paths |= more.paths
            elsewhere |= set(more.problems)
    problems += elsewhere
    contents: list[tuple[str, bytes]] = []
    for relative in sorted(found.paths):
        data = read_document(root, relative)
        if isinstance(data, Problem):
            problems.append(data)
        else:
            contents.append((relative, data))
    files, cached = _facts(root, contents, cache)
    located = [(path, document) for path, facts in files for document in facts.documents]
    problems += [problem for _, facts in files for problem in facts.problems]
    problems += cross_check(located, root, repository.settings)
    problems += (*read_ansible_settings(root).problems, *read_requirements(root).problems)
    valid = not errors_among(problems)
    if wanted is not None:
        problems = [problem for problem in problems if problem.position.path in wanted or problem in elsewhere]
    return CheckReport(
        files=len(files) if wanted is None else len(wanted),
        documents=sum(wanted is None or path in wanted for path, _ in located),
        problems=in_order(problems),
        cached=cached,
        valid=valid,
        about=None if wanted is None else frozenset(wanted),
        digest=_digest_of(contents),
    )


def _digest_of(contents: list[tuple[str, bytes]]) -> str:
    """Name everything that was read, by paths and bytes."""
    digest = hashlib.sha256()
    for path, data in contents:
        digest.update(os.fsencode(path) + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()


def _named(root: Path, path: Path) -> Found:
    """Find the documents behind a path that a person typed, relative to where they are."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links are judged by the walk, not resolved before it
    try:
        relative = Path(os.path.realpath(absolute.parent), absolute.name).relative_to(os.path.realpath(root)).as_posix()
    except ValueError as error:
        msg = f"{quoted(str(path))} lies outside the repository {root}"
        raise UsageError(msg, advice="check it with --repo pointing to its own repository") from error
    if absolute.is_dir():
        return find_under(root, relative)
    if not os.path.lexists(absolute):
        msg = f"there is no file or directory {quoted(str(path))}"
        raise UsageError(msg)
    return Found(paths={relative})


def _facts(
    root: Path, contents: list[tuple[str, bytes]], cache: Path | None
) -> tuple[list[tuple[str, FileFacts]], int]:
    """Give the facts of every file, from the cache where its bytes are known; and how many came from there."""
    place = None if cache is None else cache / f"check-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
    kept = read_cache(place) if place is not None else {}
    digests = [hashlib.sha256(data).hexdigest() for _, data in contents]
    facts: dict[str, FileFacts] = {}
    answers: Answers = {}
    missing: list[tuple[str, str, bytes]] = []
    for (path, data), digest in zip(contents, digests, strict=True):
        try:
            facts[path] = FileFacts.from_plain(kept[digest], path)
            answers[digest] = kept[digest]
        except (KeyError, TypeError, ValueError, AttributeError):
            missing.append((digest, path, data))
    cached = len(facts)
    if missing:
        made = _analyse_all(missing)
        answers |= made
        for digest, path, _ in missing:
            facts[path] = FileFacts.from_plain(made[digest], path)
    if place is not None and answers.keys() != kept.keys():
        write_cache(place, answers)
    return [(path, facts[path]) for path, _ in contents], cached


def _analyse_all(missing: list[tuple[str, str, bytes]]) -> Answers:
    """Analyse files, sharing the work with a second process where there is enough of it."""
    if len(missing) < _SHARED_FROM or (os.cpu_count() or 1) < 2 or not hasattr(os, "fork"):  # noqa: PLR2004 - two processes
        return _analyse_some(missing)
    import jinja2  # noqa: F401, PLC0415 - loaded before the fork, once for both
    import yaml  # noqa: F401, PLC0415 - likewise

    half = len(missing) // 2
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_helper(missing[half:], reading, writing)
    os.close(writing)
    answers = _analyse_some(missing[:half])
    with open(reading, "rb") as stream:  # noqa: PTH123 - a pipe
        told = stream.read()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ValueError):  # what a dying helper told is done again here
        answers |= json.loads(told) if status == 0 else {}
    return answers | _analyse_some([each for each in missing[half:] if each[0] not in answers])


def _be_the_helper(missing: list[tuple[str, str, bytes]], reading: int, writing: int) -> None:
    """Live as the second process: analyse, tell, and leave without the first one's endings; silent when it fails."""
    status = 1
    try:
        os.close(reading)
        told = json.dumps(_analyse_some(missing)).encode()
        with open(writing, "wb") as stream:
            stream.write(told)
        status = 0
    finally:
        os._exit(status)


def _analyse_some(missing: list[tuple[str, str, bytes]]) -> Answers:
    collects = gc.isenabled()
    gc.disable()  # a document makes thousands of values and no circles: looking for some costs as much as reading it
    try:
        return {digest: analyse(data, path).plain() for digest, path, data in missing}
    finally:
        if collects:
            gc.enable()


def read_cache(place: Path) -> Answers:
    """Read the kept answers, or none where they are missing, damaged, of another version, or not surely ours."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, "rb") as stream:  # noqa: PTH123 - opened above, without following
            state = os.fstat(handle)
            if state.st_uid != os.geteuid() or state.st_mode & 0o022 or state.st_size > _CACHE_LIMIT:
                return {}
            kept = json.loads(stream.read())
        files = kept["files"] if kept["key"] == analysis_key() else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}


def write_cache(place: Path, answers: Answers) -> None:
    """Keep answers for next time; a cache that cannot be written is no failure."""
    import tempfile  # noqa: PLC0415 - an unchanged repository writes nothing

    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".check-")  # 0600
    except OSError:
        return
    try:
        with open(handle, "w", encoding="utf-8") as stream:  # noqa: PTH123 - opened by mkstemp
            stream.write(json.dumps({"key": analysis_key(), "files": answers}, separators=(",", ":")))
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
