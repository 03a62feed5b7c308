"""Which way does one field lead, when its value changes?

The schema says which direction of a field is safer (`x-opsascode-safety`) and what it means that it is not there
(`x-opsascode-absent`). What it does not say, and what cannot be compared, is unclear. Where a field is neutral but its
absence is not, any other value may be as good as none: that is unclear too.

Not here: which fields there are, and what their values mean (`repo`); rules of guardrails (`_rule_change`).
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeGuard

from opsascode.policy._rule_change import is_of_rules, rule_change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opsascode.repo import DocumentMeaning


class Direction(Enum):
    """Which way a change leads."""

    STRICTER = "stricter"
    LOOSER = "looser"
    NEUTRAL = "neutral"
    UNCLEAR = "unclear"


class Absent(Enum):
    """Stands for a value where there is none."""

    ABSENT = None


ABSENT: Final = Absent.ABSENT
_NEUTRAL: Final = "neutral"


def direction_of(safety: str | None, absence: str | None, before: object, after: object) -> Direction:
    """Say which way a field leads from one value to another; `ABSENT` is none."""
    if same(before, after):
        return Direction.NEUTRAL
    if before is ABSENT or after is ABSENT:
        return _by_absence(safety, absence, appears=before is ABSENT)
    if safety == _NEUTRAL:
        return Direction.NEUTRAL if absence is None else Direction.UNCLEAR
    compare = _SAFER.get(safety or "")
    safer = None if compare is None else compare(before, after)
    if safer is None:
        return Direction.UNCLEAR
    return Direction.STRICTER if safer else Direction.LOOSER


def at_least_as_strict(new: DocumentMeaning, old: DocumentMeaning, *, but: frozenset[tuple[str | int, ...]]) -> bool:
    """Say whether one document asks for no less than another, field by field, some of them left out."""
    return all(
        field_direction(old, new, path) in {Direction.STRICTER, Direction.NEUTRAL}
        for path in (old.leaves.keys() | new.leaves.keys()) - but
    )


def field_direction(old: DocumentMeaning, new: DocumentMeaning, path: tuple[str | int, ...]) -> Direction:
    """Say which way one field leads from one document to another."""
    if is_of_rules(new, path):
        found = rule_change(old, new, path)
        if found is not None:
            return Direction(found)
    safety = new.safety.get(path, old.safety.get(path))
    absence = new.absent.get(path, old.absent.get(path))
    before, after = old.leaves.get(path, ABSENT), new.leaves.get(path, ABSENT)
    limits = absence == "strictest"
    if before is ABSENT and absence != "loosest" and _comes_with(old, new, path, neutral=limits):
        return Direction.NEUTRAL
    return direction_of(safety, absence, before, after)


def _comes_with(old: DocumentMeaning, new: DocumentMeaning, path: tuple[str | int, ...], *, neutral: bool) -> bool:
    """Say whether a field is about nothing but what is new itself, which makes things stricter.

    The hosts to which the runbook that enforces is limited, where none enforced before; the indicator of a new promise,
    which does not come with a `neutral` field but with one that says what is promised.
    """
    around, depth = path[:-1], len(path) - 1
    if any(each[:depth] == around for each in old.leaves):
        return False
    return any(
        each[:depth] == around and new.absent.get(each) == "loosest" and (neutral or new.safety.get(each) != _NEUTRAL)
        for each in new.leaves
    )


def same(before: object, after: object) -> bool:
    """Say whether two values are one; true and 1 are not."""
    return type(before) is type(after) and before == after


def _by_absence(safety: str | None, absence: str | None, *, appears: bool) -> Direction:
    if absence is None:
        return Direction.NEUTRAL if safety == _NEUTRAL else Direction.UNCLEAR
    return Direction.STRICTER if (absence == "loosest") is appears else Direction.LOOSER


def _higher(before: object, after: object) -> bool | None:
    """Compare numbers that are different."""
    if _is_number(before) and _is_number(after):
        return after > before
    return None


def _is_number(value: object) -> TypeGuard[int | float]:
    """Tell numbers from everything else; exact decimals compare with both."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _lower(before: object, after: object) -> bool | None:
    higher = _higher(before, after)
    return None if higher is None else not higher


def _superset(before: object, after: object) -> bool | None:
    """Compare sets that are different: of two of which neither holds the other, one cannot tell."""
    first, second = _items(before), _items(after)
    if first is None or second is None:
        return None
    return True if second >= first else False if second <= first else None


def _subset(before: object, after: object) -> bool | None:
    superset = _superset(before, after)
    return None if superset is None else not superset


def _true(before: object, after: object) -> bool | None:
    return after is True if isinstance(before, bool) and isinstance(after, bool) else None


def _items(value: object) -> frozenset[str] | None:
    if isinstance(value, dict):
        return frozenset(map(repr, value.items()))
    return frozenset(map(repr, value)) if isinstance(value, list | tuple | set | frozenset) else None


_SAFER: Final[Mapping[str, Callable[[object, object], bool | None]]] = {
    "higher-is-safer": _higher,
    "lower-is-safer": _lower,
    "superset-is-safer": _superset,
    "subset-is-safer": _subset,
    "true-is-safer": _true,
}
