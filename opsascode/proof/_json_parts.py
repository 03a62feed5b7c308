"""Has a JSON object the parts it must have, each of its form? One reader for what was signed, recorded or kept.

Rules: the first part that is wrong is refused, with the error and in the words of whoever reads. A number is no
boolean. A moment and a decimal have a size, so that nothing that is read here cannot be counted with.

Not here: JSON itself (`_canonical`); a trust root, of which everything that is wrong is told at once (`_root_form`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from enum import Enum

    from opsascode.proof._canonical import Json

    Word = TypeVar("Word", bound=Enum)
    Part = TypeVar("Part")
    P = ParamSpec("P")

_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
_MOST_LINE: Final = 256
_MOST_DIGITS: Final = 500
_MOST_EXPONENT: Final = 400  # beyond what Prometheus can count with


@dataclass(frozen=True, slots=True)
class JsonParts:
    """A JSON object that is read part by part; `refuse` makes the error for what is wrong with it."""

    value: Mapping[str, Json]
    refuse: Callable[[str], Exception]

    @classmethod
    def of(
        cls,
        found: Json | Mapping[str, Json],
        refuse: Callable[[str], Exception],
        keys: frozenset[str] | None = None,
        *,
        what: str = "it",
    ) -> JsonParts:
        """Take an object that has exactly these keys; without `keys` it may have any."""
        if not isinstance(found, Mapping):
            raise refuse(f"{what} is no object")
        if keys is not None and (wrong := key_fault(found, keys)):
            raise refuse(f"{what} {wrong}")
        return cls(found, refuse)

    def text(self, key: str, most: int | None = None) -> str:
        """Read a text."""
        return self._text(self.value.get(key), f"its {key}", most)

    def texts(self, key: str, most: int | None = None) -> tuple[str, ...]:
        """Read a list of texts."""
        return tuple(self._text(each, f"a part of its {key}", most) for each in self.items(key))

    def line(self, key: str, most: int = _MOST_LINE) -> str:
        """Read a text that is shown as it is, on one line."""
        found = self.text(key, most)
        if not found.isprintable():
            raise self.refuse(f"its {key} holds a character that cannot be shown")
        return found

    def matching(self, key: str, form: re.Pattern[str]) -> str:
        """Read a text of one form."""
        found = self.text(key)
        if not form.fullmatch(found):
            raise self.refuse(f"its {key} is not of the form it must have")
        return found

    def word(self, key: str, kind: type[Word]) -> Word:
        """Read one of the known words."""
        found = self.value.get(key)
        for each in kind:
            if each.value == found:
                return each
        raise self.refuse(f"its {key} is none of {', '.join(str(each.value) for each in kind)}")

    def number(self, key: str, *, least: int = 0) -> int:
        """Read a whole number."""
        found = self.value.get(key)
        if isinstance(found, bool) or not isinstance(found, int) or found < least:
            raise self.refuse(f"its {key} is no whole number from {least} on")
        return found

    def decimal(self, key: str) -> Decimal:
        """Read a decimal, which is written as text."""
        text = self.text(key, _MOST_DIGITS)
        try:
            found = Decimal(text)
        except InvalidOperation:
            raise self.refuse(f"its {key} is no number: {text!a}") from None
        if not found.is_finite() or abs(found.adjusted()) > _MOST_EXPONENT:
            raise self.refuse(f"its {key} is no finite number: {text!a}")
        return found

    def truth(self, key: str) -> bool:
        """Read true or false."""
        found = self.value.get(key)
        if not isinstance(found, bool):
            raise self.refuse(f"its {key} is neither true nor false")
        return found

    def moment(self, key: str) -> datetime:
        """Read a time in UTC, to the second."""
        found = read_stamp(self.text(key))
        if found is None:
            raise self.refuse(f"its {key} is no time such as 2026-01-31T12:00:00Z")
        return found

    def items(self, key: str) -> Sequence[Json]:
        """Read a list."""
        found = self.value.get(key)
        if not isinstance(found, list):
            raise self.refuse(f"its {key} is no list")
        return found

    def object(self, key: str, keys: frozenset[str] | None = None) -> JsonParts:
        """Read an object."""
        return self.of(self.value.get(key), self.refuse, keys, what=f"its {key}")

    def objects(self, key: str) -> tuple[JsonParts, ...]:
        """Read a list of objects."""
        return tuple(self.of(each, self.refuse, what=f"a part of its {key}") for each in self.items(key))

    def maybe(self, key: str, read: Callable[Concatenate[str, P], Part], *how: P.args, **more: P.kwargs) -> Part | None:
        """Read a part that is there, and may be null."""
        if key not in self.value:
            raise self.refuse(f"it lacks {key}")
        return None if self.value[key] is None else read(key, *how, **more)

    def _text(self, found: Json, what: str, most: int | None) -> str:
        if not isinstance(found, str):
            raise self.refuse(f"{what} is no text")
        if most is not None and len(found) > most:
            raise self.refuse(f"{what} is no text of at most {most} characters")
        return found


def key_fault(found: Mapping[str, Json], keys: frozenset[str]) -> str:
    """Say which keys an object lacks, and which it has too many; nothing where it has exactly these."""
    missing, more = sorted(keys - found.keys()), sorted(each[:60] for each in found.keys() - keys)
    said = [f"lacks {', '.join(missing)}"] if missing else []
    said += [f"has {', '.join(map(ascii, more[:3]))} too many"] if more else []
    return " and ".join(said)


def stamp(moment: datetime) -> str:
    """Write a moment as what is signed does, the one way: UTC, to the second."""
    return moment.astimezone(UTC).strftime(_STAMP)


def read_stamp(text: str) -> datetime | None:
    """Read a moment that `stamp` wrote; None where it is written in any other way."""
    try:
        found = datetime.strptime(text, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if stamp(found) == text else None
