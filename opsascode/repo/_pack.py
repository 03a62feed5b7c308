"""What does the policy pack as of a commit say: its version, what enforces it, and which guardrails it holds?

Read from the verified bytes of a snapshot, never from the working tree. Any document in `policies/` that cannot be used
makes the guardrails of the whole pack unusable, as it might be the one that matters.

Not here: checking documents on disk (`_check`), and what differs between two packs (`policy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.repo._analysis import analyse
from opsascode.repo._build import build_pack
from opsascode.repo._crosscheck import pack_problems, policy_problems
from opsascode.repo._documents import Kind, Source
from opsascode.repo._meaning import is_document
from opsascode.repo._policies import Policies, build_policies
from opsascode.repo._problem import InvalidDocumentsError, errors_among, in_order
from opsascode.repo._schema import kind_of
from opsascode.repo._source import load_source
from opsascode.repo._walk import PACK_FILE, POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.repo._documents import PolicyPack
    from opsascode.repo._facts import DocumentFacts
    from opsascode.repo._problem import Problem
    from opsascode.repo._snapshot import Snapshot
    from opsascode.repo._source import SourceDocument

__all__ = ["PACK_FILE", "pack_of", "policies_of"]


def pack_of(snapshot: Snapshot) -> PolicyPack | None:
    """Give the document `policies/pack.yml` of a snapshot, None where it has none.

    Raises:
        InvalidDocumentsError: it has problems.
    """
    found = (each for _, each in _documents(snapshot, [PACK_FILE]) if kind_of(each) is Kind.POLICY_PACK)
    document = next(found, None)
    return None if document is None else build_pack(document, _source(snapshot, PACK_FILE))


def policies_of(snapshot: Snapshot) -> Policies:
    """Give all policies of a snapshot, in the order of their files.

    Raises:
        InvalidDocumentsError: a document in `policies/` has problems.
    """
    documents = _documents(snapshot, sorted(snapshot.files), whole=True)
    return build_policies((each, _source(snapshot, path)) for path, each in documents)


def _documents(
    snapshot: Snapshot, among: Sequence[str], *, whole: bool = False
) -> Iterator[tuple[str, SourceDocument]]:
    """Give the documents of `policies/` among some paths, once it is clear that none of them has a problem.

    Where they are not the whole, documents they name are not looked for.
    """
    documents = (path for path in among if path.startswith(f"{POLICIES}/") and is_document(path))
    paths = [path for path in documents if path in snapshot.files]
    problems: list[Problem] = []
    located: list[tuple[str, DocumentFacts]] = []
    for path in paths:
        facts = analyse(snapshot.files[path].data, path)
        problems += facts.problems
        located += [(path, each) for each in facts.documents]
    problems += policy_problems(located) if whole else pack_problems(located)
    if errors_among(problems):
        raise InvalidDocumentsError(in_order(errors_among(problems)), what="the policies of this pack cannot be used")
    for path in paths:
        for document in load_source(snapshot.files[path].data, path).documents:
            yield path, document


def _source(snapshot: Snapshot, path: str) -> Source:
    return Source(path=path, digest=snapshot.files[path].digest)
