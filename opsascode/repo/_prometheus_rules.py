"""What is wrong with how Prometheus is asked, that no schema can say?

Read with the settings by every command, so this room needs little else.

Not here: the settings as a type (`_settings`), asking (`slo`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._problem import Problem, Severity, path_text, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

_WHERE: Final[DocumentPath] = ("spec", "prometheus")
_OPEN_LINE: Final = re.compile(r"http://(?!(?:localhost|127\.[0-9.]+|\[::1\])(?:[:/]|\Z))")


def prometheus_problems(document: SourceDocument) -> Iterator[Problem]:
    """Find what contradicts itself there, and secrets that anybody on the way could read."""
    written: Any = document.at(_WHERE)
    if not isinstance(written, dict):
        return
    if "bearer" in written and {"username", "password"} & written.keys():
        message = f"{quoted('bearer')} cannot stand beside {quoted('username')}: a question carries one of them"
        yield _problem(document, "bearer", "contradiction", message, "keep one of them")
    for key, other in (("username", "password"), ("password", "username")):
        if key in written and other not in written:
            message = f"{quoted(key)} only has a meaning beside {quoted(other)}"
            yield _problem(document, key, "misplaced-key", message, f"add {other}, or leave it out")
    url = written.get("url")
    secret = next((each for each in ("bearer", "password") if each in written), None)
    if secret and isinstance(url, str) and _OPEN_LINE.match(url):
        message = f"the {secret} is sent to {quoted(url)} readable for all on the way"
        yield _problem(document, "url", "open-line", message, "write https://", Severity.WARNING)


def _problem(
    document: SourceDocument, key: str, code: str, message: str, mend: str, severity: Severity = Severity.ERROR
) -> Problem:
    path = (*_WHERE, key)
    return Problem(
        position=document.key_position(path),
        document_path=path_text(path),
        code=code,
        message=message,
        mend=mend,
        severity=severity,
    )
