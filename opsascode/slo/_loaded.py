"""Has Prometheus loaded the rules that the policies give?

Groups are found by their names, of which ours begin with one word, and rules in them by kind, name and labels.
Prometheus gives queries as it prints them, so those that are not alike but for spaces are printed by it once more, ours
as well as the loaded ones, before they count as different. A rule that cannot be evaluated is different too.

Not here: making rules (`_rules`), how Prometheus is asked (`_prometheus`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from opsascode.slo._answer import PrometheusError, Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from opsascode.slo._prometheus import PrometheusClient
    from opsascode.slo._rules import RuleFile
    from opsascode.slo._series import PromRule, RuleGroup

_OURS: Final = "opsascode "
_SPACES: Final = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|\s+""")
_Key = tuple[str, str, frozenset[tuple[str, str]]]


class Loading(Enum):
    """How what is loaded differs from what the policies give."""

    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDifference:
    """One rule, or a whole group where `rule` is empty, that is not as the policies give it."""

    loading: Loading
    group: str
    rule: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRules:
    """How many rules the policies give, how many of ours are loaded, and where they differ."""

    expected: int
    loaded: int
    differences: tuple[RuleDifference, ...]

    @property
    def share(self) -> float:
        """The share of rules that differ, of all that are expected or loaded."""
        wrong = sum(1 for each in self.differences)
        return wrong / max(self.expected, self.loaded, wrong, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A rule as it can be compared: what is alike has the same parts."""

    group: str
    kind: str
    name: str
    labels: frozenset[tuple[str, str]]
    query: str
    wait: Decimal
    keep: Decimal
    annotations: frozenset[tuple[str, str]]
    error: str = ""

    @property
    def key(self) -> _Key:
        return (self.kind, self.name, self.labels)


def compare_loaded(files: Sequence[RuleFile], client: PrometheusClient) -> LoadedRules:
    """Ask Prometheus which rules it has loaded, and compare them.

    Raises:
        PrometheusError: it cannot be asked, or its answer cannot be read.
    """
    groups = [group for file in files for group in file.groups]
    expected = {group.name: [_given(group, rule) for rule in group.rules] for group in groups}
    intervals = {group.name: _seconds(group.interval) for group in groups}
    answer = client.ask(Question(path="rules", post=False)).data
    loaded, paces = _loaded(answer)
    same = _Printed.of(client, _unlike(expected, loaded))
    differences = [
        *_compared(expected, loaded, same),
        *(
            RuleDifference(loading=Loading.DIFFERENT, group=name, rule="", why="it is evaluated at another pace")
            for name in sorted(intervals.keys() & paces.keys())
            if intervals[name] != paces[name]
        ),
    ]
    return LoadedRules(
        expected=sum(map(len, expected.values())),
        loaded=sum(map(len, loaded.values())),
        differences=tuple(differences),
    )


def _compared(
    expected: Mapping[str, Sequence[_Rule]], loaded: Mapping[str, Sequence[_Rule]], same: _Printed
) -> Iterator[RuleDifference]:
    for name in sorted(expected.keys() | loaded.keys()):
        if name not in loaded:
            yield RuleDifference(loading=Loading.MISSING, group=name, rule="", why="the whole group is not loaded")
            continue
        if name not in expected:
            why = "no policy gives this group"
            yield RuleDifference(loading=Loading.EXTRA, group=name, rule="", why=why)
            continue
        ours, theirs = _by_key(expected[name]), _by_key(loaded[name])
        for key, rule in ours.items():
            found = theirs.get(key)
            why = "" if found is None else _why(rule, found, same)
            if found is None:
                yield RuleDifference(loading=Loading.MISSING, group=name, rule=rule.name)
            elif why:
                yield RuleDifference(loading=Loading.DIFFERENT, group=name, rule=rule.name, why=why)
        for key, rule in theirs.items():
            if key not in ours:
                yield RuleDifference(loading=Loading.EXTRA, group=name, rule=rule.name)


def _why(ours: _Rule, theirs: _Rule, same: _Printed) -> str:
    """Say in which parts two rules of one name differ; nothing where they do not."""
    parts = (
        ("its query", same.alike(ours.query, theirs.query)),
        ("how long it waits", ours.wait == theirs.wait),
        ("how long it is kept firing", ours.keep == theirs.keep),
        ("its annotations", ours.annotations == theirs.annotations),
    )
    found = [what for what, alike in parts if not alike]
    if theirs.error:
        found.append(f"it cannot be evaluated: {theirs.error}")
    return ", ".join(found)


class _Printed:
    """Queries as Prometheus prints them."""

    def __init__(self, printed: Mapping[str, str]) -> None:
        self._printed = printed

    @classmethod
    def of(cls, client: PrometheusClient, queries: Iterable[str]) -> _Printed:
        """Have queries printed; one that cannot be stays as it is."""
        asked = list(dict.fromkeys(queries))
        replies = client.ask_all([Question(path="format_query", words=(("query", each),)) for each in asked])
        printed = {
            query: _squeezed(str(reply.data))
            for query, reply in zip(asked, replies, strict=True)
            if not isinstance(reply, PrometheusError)
        }
        return cls(printed)

    def alike(self, one: str, other: str) -> bool:
        """Whether two queries are the same."""
        if _squeezed(one) == _squeezed(other):
            return True
        return one in self._printed and self._printed[one] == self._printed.get(other)


def _unlike(expected: Mapping[str, Sequence[_Rule]], loaded: Mapping[str, Sequence[_Rule]]) -> Iterator[str]:
    """Give the queries that have to be printed before they can be compared."""
    for name in expected.keys() & loaded.keys():
        theirs = _by_key(loaded[name])
        for rule in expected[name]:
            found = theirs.get(rule.key)
            if found is not None and _squeezed(rule.query) != _squeezed(found.query):
                yield from (rule.query, found.query)


def _given(group: RuleGroup, rule: PromRule) -> _Rule:
    return _Rule(
        group=group.name,
        kind="alerting" if rule.alert else "recording",
        name=rule.name,
        labels=frozenset(rule.labels.items()),
        query=rule.expr,
        wait=_seconds(rule.wait),
        keep=_seconds(rule.keep),
        annotations=frozenset(rule.annotations.items()),
    )


def _loaded(answer: Any) -> tuple[dict[str, list[_Rule]], dict[str, Decimal]]:  # noqa: ANN401 - what a server sent
    """Read the groups of ours, and how often each is evaluated."""
    listed = answer.get("groups") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        raise _unreadable()
    rules: dict[str, list[_Rule]] = {}
    paces: dict[str, Decimal] = {}
    for group in listed:
        name = group.get("name") if isinstance(group, dict) else None
        if not isinstance(name, str) or not isinstance(group.get("rules"), list):
            raise _unreadable()
        if name.startswith(_OURS):
            rules.setdefault(name, []).extend(_read(name, each) for each in group["rules"])
            paces[name] = _number(group.get("interval"))
    return rules, paces


def _read(group: str, found: Any) -> _Rule:  # noqa: ANN401 - what a server sent
    if not isinstance(found, dict) or not isinstance(found.get("query"), str):
        raise _unreadable()
    return _Rule(
        group=group,
        kind=str(found.get("type")),
        name=str(found.get("name")),
        labels=_pairs(found.get("labels")),
        query=found["query"],
        wait=_number(found.get("duration")),
        keep=_number(found.get("keepFiringFor")),
        annotations=_pairs(found.get("annotations")),
        error=str(found.get("lastError") or "") if found.get("health") == "err" else "",
    )


def _by_key(rules: Iterable[_Rule]) -> dict[_Key, _Rule]:
    return {each.key: each for each in rules}


def _pairs(found: Any) -> frozenset[tuple[str, str]]:  # noqa: ANN401 - what a server sent
    return (
        frozenset((str(name), str(value)) for name, value in found.items()) if isinstance(found, dict) else frozenset()
    )


def _seconds(span: timedelta | None) -> Decimal:
    return Decimal(0) if span is None else Decimal(str(span.total_seconds())).normalize()


def _number(found: Any) -> Decimal:  # noqa: ANN401 - what a server sent
    try:
        return Decimal(str(found or 0)).normalize()
    except InvalidOperation:
        raise _unreadable() from None


def _squeezed(query: str) -> str:
    """Write a query without the spaces between its words; those within a quoted text stay."""
    return _SPACES.sub(lambda found: found[1] or "", query)


def _unreadable() -> PrometheusError:
    return PrometheusError("the rules that Prometheus has loaded cannot be read: this is no answer to /api/v1/rules")
