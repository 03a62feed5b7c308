"""Which words must a text hold to say again what a document says?

Reading twenty thousand old texts as YAML takes a quarter of a minute, searching them for words takes no time. A name,
another text or a number stands in a document letter by letter, but for escapes in quoted texts and a few spellings of
numbers (`0x19`, `2.5e1`): a text that may hold such is `veiled` and always read. So what is left out here says nothing
of the kind asked for, and what is not left out is read properly.

Not here: the reading (`_meaning`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opsascode.repo._form import FREE, Form, Spelling, form_of
from opsascode.repo._meaning import NOTHING, Reading, is_document
from opsascode.repo._schema import kind_of
from opsascode.repo._source import load_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opsascode.repo._snapshot import ProtectedFile

_ALIKE: Final = bytes.maketrans(b"123456789E+", b"000000000e-")
_VEILS: Final = (b"\\", b"0x", b"0o", b"0e0", b"0e-0", b".e0", b".e-0")
_WORD: Final = re.compile(r"[^\s'=\\]+")
_DIGITS: Final = re.compile(r"[0-9]+")
_MOST_WORDS: Final = 12


class Word(NamedTuple):
    """Bytes that must be there, and the expression that says what may stand beside them."""

    data: bytes
    expression: bytes


Words: TypeAlias = frozenset[Word]


def veils_in(data: bytes) -> tuple[bytes, Sequence[bytes]]:
    """Give texts in which some signs are written alike, and what tells there that words may be veiled."""
    return data.translate(_ALIKE), _VEILS


def words_of(file: ProtectedFile) -> tuple[Words, ...]:
    """Give sets of words: a text that holds none of the sets whole has nothing that concerns the file's documents.

    The file is one that can be read.
    """
    found: set[Words] = set()
    for document in load_source(file.data, file.path).documents if is_document(file.path) else ():
        kind = kind_of(document)
        value: Any = document.value
        if kind is None:
            continue
        form = form_of(kind)
        found.add(_chosen(_in_text(value["metadata"]["name"])))
        said = Reading(kind).read(value, form, ())
        found.add(_chosen(_words(said.get("spec", {}), form.fields["spec"])))
        found.update(_chosen(_words(*rule)) for rule in _rules(said, form))
    return tuple(each for each in found if not any(other < each for other in found))


def holds(data: bytes, wanted: Sequence[Words]) -> bool:
    """Tell whether a text holds all words of one of the sets, each standing by itself."""
    return any(
        all(each.data in data for each in words) and all(re.search(each.expression, data) for each in words)
        for words in wanted
    )


def _chosen(found: Iterable[Word]) -> Words:
    """Take the longest words, as a dozen tell enough."""
    return frozenset(sorted(set(found), key=lambda each: (-len(each.data), each.data))[:_MOST_WORDS])


def _words(value: Any, form: Form) -> Iterator[Word]:  # noqa: ANN401 - any plain value
    """Give the words that stand in the document as they are."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in form.fields:
                yield from _in_text(key)
            yield from _words(each, form.fields.get(key) or form.other or FREE)
    elif isinstance(value, list):
        inner = form if form.spelling is Spelling.SHARES else form.items or FREE
        for each in value:
            yield from _words(each, inner)
    elif isinstance(value, str):
        yield from map(_whole, _DIGITS.findall(value)) if form.spelling is Spelling.SHARES else _in_text(value)
    elif not isinstance(value, bool) and value is not None and form.spelling is not Spelling.DURATION:
        yield from _in_number(value)


def _in_text(text: str) -> Iterator[Word]:
    """Cut a text where a line may be folded, or a quote doubled; what is left stands between other signs."""
    for word in _WORD.findall(text):
        data = word.encode()
        yield Word(data, rb"(?<![A-Za-z0-9_.-])%b(?![A-Za-z0-9_.-])" % re.escape(data))


def _in_number(value: float) -> Iterator[Word]:
    """Give the digits that every plain spelling of a number holds."""
    whole, _, part = repr(abs(value)).partition(".")
    if "e" in whole + part:
        return
    if whole != "0" or not part:
        yield _whole(whole)
    if part.strip("0"):
        yield Word(part.rstrip("0").encode(), part.rstrip("0").encode())


def _whole(digits: str) -> Word:
    return Word(digits.encode(), rb"(?<![1-9A-Za-z_])%b(?![0-9])" % digits.encode())


def _rules(said: Any, form: Form) -> Iterator[tuple[Any, Form]]:  # noqa: ANN401 - any plain value
    """Find the items of lists that have an id."""
    if said is NOTHING or form.is_leaf:
        return
    if isinstance(said, dict):
        for key, each in said.items():
            yield from _rules(each, form.fields.get(key) or form.other or FREE)
    elif isinstance(said, list) and form.items is not None and form.items.fields:
        for each in said:
            yield each, form.items
            yield from _rules(each, form.items)
