"""What does a YAML syntax error mean, in words that help whoever typed the line?

The parser knows what it expected; the person wants to know what to type. Not here: finding the error.
"""

from __future__ import annotations

import re

_UNQUOTED_TEMPLATE = re.compile(r"(?:^|[:\-?,\[{]\s+)\{\{")
_MENDS = (
    (
        "mapping values are not allowed",
        "a «: » appears where a text goes on",
        "quote the text if the colon belongs to it, else mend the indentation",
    ),
    (
        "could not find expected ':'",
        "this line has no «: » after its key",
        "write «key: value», or indent the line so that it continues the text above",
    ),
    (
        "did not find expected key",
        "this line fits no mapping or list around it",
        "align it with its neighbours, and quote texts that start with a sign",
    ),
    (
        "did not find expected '-' indicator",
        "this line does not belong to the list around it",
        "align it with the list's dashes, or indent it below an item",
    ),
    ("expected ',' or ']'", "a list in [ ] is not closed, or lacks a comma", "write the missing «,» or «]»"),
    ("expected ',' or '}'", "a mapping in { } is not closed, or lacks a comma", "write the missing «,» or «}»"),
    ("unexpected end of stream", "a quoted text is not closed before the file ends", "write the closing quote"),
    (
        "unexpected document indicator",
        "a quoted text is not closed before the document ends",
        "write the closing quote",
    ),
    (
        "unknown escape character",
        "this backslash escape does not exist",
        "use single quotes, or write the backslash twice",
    ),
    (
        "block sequence entries are not allowed",
        "a list item cannot start on this line",
        "start the list on a line of its own below its key",
    ),
    (
        "undefined tag handle",
        "tags are not used in documents",
        "delete the tag, or quote the text that starts with «!»",
    ),
    (
        "did not find expected node content",
        "something is missing here",
        "write the value, or close the bracket before it",
    ),
    (
        "expected <block end>",
        "this line fits no mapping or list around it",
        "align it with its neighbours, and quote texts that start with a sign",
    ),
)


def explain_syntax(error: Exception, text: str) -> tuple[str, str]:
    """Say in one sentence what the parser stumbled over, and in another how such a line is mended."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    character = line[mark.column : mark.column + 1] if mark is not None else ""
    if _UNQUOTED_TEMPLATE.search(line):
        return f"not readable as YAML: {problem}", 'quote a template as a whole: "{{ name }}"'
    if "cannot start any token" in problem:
        if character == "\t":
            return "a tab cannot indent YAML", "indent with spaces"
        return f"a text cannot start with «{character}»", "quote the text"
    for words, message, mend in _MENDS:
        if words in problem:
            return message + _since(error, problem), mend
    return f"not readable as YAML: {problem}", ""


def _since(error: Exception, problem: str) -> str:
    """Name the line an unclosed quote or bracket started on, which is rarely the line of the complaint."""
    context = getattr(error, "context_mark", None)
    mark = getattr(error, "problem_mark", None)
    if context is None or mark is None or context.line == mark.line or "key" in problem:
        return ""
    return f"; it starts on line {context.line + 1}"
