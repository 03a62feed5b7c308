"""How long, how much: what do durations and percentages in documents mean?

Durations are whole numbers with one unit (`500ms 30s 5m 1h 7d`), percentages exact decimals, as `0.1` in binary is not
a tenth. Not here: which of them a document may use where (schema).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)\Z")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `30s`.

    Raises:
        ValueError: the text is no duration.
    """
    match = _DURATION.match(text)
    if match is None:
        msg = f"{text!r} is no duration"
        raise ValueError(msg)
    return int(match[1]) * _UNITS[match[2]]


def parse_percent(value: float | str) -> Decimal:
    """Read a percentage: `25`, `12.5` or `'25%'`, each meaning that many hundredths.

    Raises:
        ValueError: the value is no percentage.
    """
    text = value.removesuffix("%") if isinstance(value, str) else repr(value)
    try:
        return Decimal(text)
    except ArithmeticError as error:
        msg = f"{value!r} is no percentage"
        raise ValueError(msg) from error


def parse_share(value: float | str) -> Decimal:
    """Read a percentage as a share: `'99.95%'` is 0.9995, exactly.

    Raises:
        ValueError: the value is no percentage.
    """
    return parse_percent(value).scaleb(-2)
