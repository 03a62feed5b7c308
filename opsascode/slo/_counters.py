"""Which counters does a query of somebody else add up?

Other tools ask Prometheus with whole expressions, such as `sum(rate(http_requests_total[{{.window}}]))`, where a
template stands for the window. Of those that only add and subtract rates of counters, the counters are read out, as
ours asks for them itself: over every window, weighted by events. Whatever is written otherwise has no answer here.

Not here: how counters are asked (`_queries`), what becomes of a query without an answer (`_sloth`, `_openslo`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from opsascode.repo import Events, Histogram, HistogramUnit
from opsascode.slo._promql import WINDOW, selector

TEMPLATE: Final = re.compile(r"\{\{\s*-?\s*\.window\s*-?\s*\}\}")
_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    |(?P<window>\{\{\s*-?\s*\.window\s*-?\s*\}\}|\$window)
    |(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<number>[0-9][0-9a-zA-Z.]*)
    |(?P<sign>=~|!~|!=|[-+*/%^=<>(){}\[\],:@])""",
    re.VERBOSE,
)
_MATCHER: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(=~|!~|!=|=)"([^"\\]*)"(?:,|\Z)')
_PLAIN: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Counters that are added, and such that are subtracted; `grouped` where they were kept apart by labels.

    A `bare` one was not summed up: adding such vectors matches their labels, which is another thing.
    """

    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    grouped: bool = False
    bare: bool = False

    def joined(self, other: Sum, *, negative: bool) -> Sum:
        """Add another sum, or subtract it."""
        plus, minus = (other.minus, other.plus) if negative else (other.plus, other.minus)
        return Sum(plus=(*self.plus, *plus), minus=(*self.minus, *minus), grouped=self.grouped or other.grouped)

    @property
    def single(self) -> str | None:
        """The one counter it consists of; None where there are more."""
        return self.plus[0] if len(self.plus) == 1 and not self.minus else None


class _Unread(Exception):  # noqa: N818 - leaves the reader's recursion, never the room
    """The query says something else."""


def sum_of(query: str, *, plain: bool = False) -> Sum | None:
    """Read a query as a sum of rates of counters; where it may be `plain`, counters may stand without a rate.

    None where it says anything else.
    """
    try:
        reader = _Reader(query, plain=plain)
        found = reader.expression()
        reader.end()
    except _Unread:
        return None
    return found


def events_of(part: Sum, total: Sum, *, bad: bool) -> Events:
    """Make an indicator of the bad (or the good) events and all events."""
    of_all = total.single
    other = part.minus[0] if len(part.plus) == len(part.minus) == 1 and part.plus[0] == of_all else None
    if of_all is not None and other is not None:
        # All but some: what is taken away is the other side.
        return _events(other, of_all, bad=not bad)
    return _events(part.single or _expression(part, empty=" or vector(0)"), of_all or _expression(total), bad=bad)


def histogram_of(events: Events) -> Histogram | None:
    """Recognise one bucket of a histogram against its count; None where it is something else."""
    good, total = _parts(events.good or ""), _parts(events.total)
    if good is None or total is None or not good[0].endswith("_bucket"):
        return None
    metric = good[0].removesuffix("_bucket")
    edge = [each for each in good[1] if each[0] == "le"]
    rest = [each for each in good[1] if each[0] != "le"]
    if total[0] != f"{metric}_count" or len(edge) != 1 or rest != total[1]:
        return None
    threshold = _edge(*edge[0][1:])
    exact = all(operator == "=" for _, operator, _ in rest) and len({name for name, *_ in rest}) == len(rest)
    if threshold is None or not exact:
        return None
    milliseconds = metric.endswith(("_milliseconds", "_ms"))
    return Histogram(
        metric=metric,
        selector={name: value for name, _, value in rest},
        threshold=threshold,
        unit=HistogramUnit.MILLISECONDS if milliseconds else HistogramUnit.SECONDS,
    )


def _events(part: str, total: str, *, bad: bool) -> Events:
    return Events(bad=part, total=total) if bad else Events(good=part, total=total)


def _expression(added: Sum, *, empty: str = "") -> str:
    """Write a sum as events per second; what was never seen counts nothing where `empty` says so."""
    terms = [("+", each) for each in added.plus] + [("-", each) for each in added.minus]
    written = [(sign, f"sum(rate({each}[{WINDOW}])){empty}") for sign, each in terms]
    parts = [f"{sign} {f'({text})' if empty else text}" for sign, text in written]
    return " ".join(parts).removeprefix("+ ")


def _parts(text: str) -> tuple[str, list[tuple[str, str, str]]] | None:
    """Take a selector apart; None where it needs escapes, or is none."""
    found = _PLAIN.match(text)
    if found is None:
        return None
    inner, at = found[2] or "", 0
    matchers = []
    while match := _MATCHER.match(inner, at):
        matchers.append((match[1], match[2], match[3]))
        at = match.end()
    return (found[1], sorted(matchers)) if at == len(inner) else None


def _edge(operator: str, value: str) -> Decimal | None:
    """Give the bound of a bucket: `0.4`, or `1` in both its spellings."""
    if operator == "=~":
        either = re.fullmatch(r"([0-9]+)(?:\(\.0\)\?|\|\1\.0)", value.replace("\\", ""))
        value = either[1] if either else ""
    elif operator != "=":
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return None
    found = Decimal(value)
    return found if found > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    kind: str
    text: str
    start: int
    end: int


class _Reader:
    """Reads one query by recursive descent."""

    def __init__(self, query: str, *, plain: bool) -> None:
        self._query, self._plain, self._at = query, plain, 0
        self._words: list[_Word] = []
        at = 0
        while at < len(query):
            match = _TOKEN.match(query, at)
            if match is None:
                raise _Unread
            if match.lastgroup is not None:
                self._words.append(_Word(kind=match.lastgroup, text=match[0], start=match.start(), end=match.end()))
            at = match.end()
        if len(self._words) > 500:  # noqa: PLR2004 - no query that people wrote is as long
            raise _Unread

    def expression(self, depth: int = 0) -> Sum:
        if depth > 20:  # noqa: PLR2004 - nobody nests as deep
            raise _Unread
        found = self._term(depth)
        while self._next in ("+", "-"):
            negative = self._take() == "-"
            other = self._term(depth)
            if found.bare or other.bare:
                raise _Unread
            found = found.joined(other, negative=negative)
        if self._next.lower() == "or":
            self._take()
            self._zero()
        return found

    def end(self) -> None:
        if self._at < len(self._words):
            raise _Unread

    def _term(self, depth: int) -> Sum:
        word = self._next.lower()
        if word == "(":
            self._take()
            found = self.expression(depth + 1)
            self._expect(")")
            return found
        if word == "sum":
            return self._sum(depth)
        if word in ("rate", "increase"):
            return self._rate()
        if not self._plain:
            raise _Unread
        return Sum(plus=(self._selector(),), bare=True)

    def _sum(self, depth: int) -> Sum:
        self._take()
        grouped = self._grouping()
        self._expect("(")
        found = self.expression(depth + 1)
        self._expect(")")
        grouped = self._grouping() or grouped
        if found.single is None:
            raise _Unread
        return replace(found, grouped=found.grouped or grouped, bare=False)

    def _grouping(self) -> bool:
        """Read `by (label)`; `by ()` keeps nothing apart."""
        if self._next.lower() not in ("by", "without"):
            return False
        without = self._take().lower() == "without"
        self._expect("(")
        count = 0
        while self._next != ")":
            self._take()
            count += 1
        self._expect(")")
        return without or count > 0

    def _rate(self) -> Sum:
        self._take()
        self._expect("(")
        found = self._selector()
        self._expect("[")
        if self._kind not in ("window", "number"):
            raise _Unread
        self._take()
        self._expect("]")
        self._expect(")")
        return Sum(plus=(found,), bare=True)

    def _selector(self) -> str:
        if self._at >= len(self._words) or self._kind not in ("word", "sign"):
            raise _Unread
        start = self._words[self._at].start
        if self._kind == "word":
            self._take()
        if self._next == "{":
            while self._next != "}":
                self._take()
            self._take()
        found = selector(self._query[start : self._words[self._at - 1].end])
        if found is None:
            raise _Unread
        return found

    def _zero(self) -> None:
        """Read `vector(0)`, which stands for a series that was never seen."""
        if self._next.lower() == "on":
            self._take()
            self._expect("(")
            self._expect(")")
        for each in ("vector", "(", "0", ")"):
            self._expect(each)

    @property
    def _next(self) -> str:
        return self._words[self._at].text if self._at < len(self._words) else ""

    @property
    def _kind(self) -> str:
        return self._words[self._at].kind if self._at < len(self._words) else ""

    def _take(self) -> str:
        if self._at >= len(self._words):
            raise _Unread
        self._at += 1
        return self._words[self._at - 1].text

    def _expect(self, text: str) -> None:
        if self._take().lower() != text:
            raise _Unread


def windowed(query: str, window: str) -> str:
    """Put a window in where a query has a template for it."""
    return TEMPLATE.sub(window, query)
