"""How is text from elsewhere shown without harming the terminal, and how are small things put in words?"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_WIDEST_SHORT_ESCAPE: Final = 0xFFFF


def escape_text(text: str, *, keep: str = "\n\t") -> str:
    r"""Show control, bidirectional and other invisible characters as escapes (`\u202e`), except those to `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character in keep else _escape(character) for character in text)


def escape_line(text: str) -> str:
    """Escape text that must stay on one line."""
    return escape_text(text.replace("\r\n", "\n").replace("\n", " ⏎ ").replace("\t", " "))


def _escape(character: str) -> str:
    import unicodedata  # noqa: PLC0415 - keeps --help quick; most texts are plain

    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= _WIDEST_SHORT_ESCAPE else f"\\U{code:08x}"


def wants_colour() -> bool:
    """Whether standard output is a terminal that knows colours, and nobody asked for none (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def at_terminal() -> bool:
    """Whether a person at a terminal sees what is said, and can answer."""
    return os.isatty(0) and os.isatty(1)


def stamp(moment: datetime) -> str:
    """Show a moment in UTC to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def seconds(duration: float) -> str:
    """Show a duration in seconds as a person says it: 0.8s, 12.3s, 3m05s, 2h10m."""
    if duration < 60:  # noqa: PLR2004 - a minute
        return f"{duration:.1f}s"
    minutes, rest = divmod(int(duration), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def count(number: int, noun: str) -> str:
    """Show a count with its noun: 1 host, 2 hosts."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
