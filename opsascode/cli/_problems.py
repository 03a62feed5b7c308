"""How are the problems of a check told to people, to programs, to GitHub and to code scanners?

Text for people; JSON that stays the same between releases; GitHub workflow commands, which annotate a pull request
(https://docs.github.com/actions/reference/workflow-commands-for-github-actions); SARIF 2.1.0 for code scanning
(https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html). Documents are written by others, so whatever could
steer a terminal or reorder text on it is shown as an escape.

Not here: finding problems (`repo`), printing (`_check`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from opsascode import __version__
from opsascode.cli._console import escape_text
from opsascode.repo import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.repo import CheckReport, Problem

FORMATS: Final = ("text", "json", "github", "sarif")
_SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def format_report(report: CheckReport, form: str, *, base: str = "") -> str:
    """Write a report in one of `FORMATS`, without a line break at its end.

    `base` is put before every path of the text form, so that paths are right from where the person is.

    Raises:
        ValueError: there is no such form.
    """
    match form:
        case "text":
            return _text(report, base)
        case "json":
            return _json(report)
        case "github":
            return "\n".join(_github(problem) for problem in report.problems)
        case "sarif":
            return _sarif(report.problems)
    raise ValueError(form)


def problem_lines(problem: Problem, *, base: str = "") -> list[str]:
    """Tell one problem to a person: where and what on the first line, how to mend it on the second."""
    place = f"{base}{problem.position}"
    lines = [f"{place}: {problem.severity.value}: {problem.message} [{problem.code}]"]
    detail = [problem.document_path] if problem.document_path else []
    if problem.mend:
        detail.append(f"→ {problem.mend}" if detail else problem.mend)
    if detail:
        lines.append("    " + "  ".join(detail))
    return [escape_text(line, keep="") for line in lines]


def count_line(report: CheckReport) -> str:
    """Sum a report up in one sentence."""
    warnings = sum(problem.severity is Severity.WARNING for problem in report.problems)
    errors = len(report.problems) - warnings
    looked = f"{_many(report.documents, 'document')} in {_many(report.files, 'file')}"
    if not report.problems:
        return f"{looked}: no problems"
    parts = [_many(errors, "error")] if errors else []
    parts += [_many(warnings, "warning")] if warnings else []
    return f"{looked}: {', '.join(parts)}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _text(report: CheckReport, base: str) -> str:
    lines = [line for problem in report.problems for line in problem_lines(problem, base=base)]
    return "\n".join([*lines, count_line(report)])


def _json(report: CheckReport) -> str:
    problems = [
        {
            "path": problem.position.path,
            "line": problem.position.line,
            "column": problem.position.column,
            "severity": problem.severity.value,
            "code": problem.code,
            "document_path": problem.document_path,
            "message": problem.message,
            "mend": problem.mend,
        }
        for problem in report.problems
    ]
    body = {"files": report.files, "documents": report.documents, "ok": report.ok, "problems": problems}
    return json.dumps(body, indent=2)


def _github(problem: Problem) -> str:
    """Write one workflow command; its message may hold line breaks, which are escaped as GitHub wants it."""
    place = problem.position
    fields = {"file": place.path, "line": place.line, "col": place.column, "title": problem.code}
    head = ",".join(f"{key}={_github_property(str(value))}" for key, value in fields.items())
    message = problem.message + (f" ({problem.document_path})" if problem.document_path else "")
    message = "\n".join(escape_text(part, keep="") for part in (message, problem.mend) if part)
    return f"::{problem.severity.value} {head}::{_github_data(message)}"


def _github_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _github_property(text: str) -> str:
    return _github_data(escape_text(text, keep="")).replace(":", "%3A").replace(",", "%2C")


def _sarif(problems: Sequence[Problem]) -> str:
    codes = sorted({problem.code for problem in problems})
    rules = [
        {"id": code, "name": _rule_name(code), "shortDescription": {"text": code.replace("-", " ")}} for code in codes
    ]
    run = {
        "tool": {
            "driver": {"name": "opsascode", "version": __version__, "semanticVersion": __version__, "rules": rules}
        },
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"ROOT": {"description": {"text": "The root of the ops repository."}}},
        "results": [_sarif_result(problem, codes.index(problem.code)) for problem in problems],
    }
    return json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule_name(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("-"))


def _sarif_result(problem: Problem, index: int) -> dict[str, Any]:
    place = problem.position
    physical = {
        "artifactLocation": {"uri": quote(place.path), "uriBaseId": "ROOT"},
        "region": {"startLine": place.line, "startColumn": place.column},
    }
    location: dict[str, Any] = {"physicalLocation": physical}
    if problem.document_path:
        location["logicalLocations"] = [{"fullyQualifiedName": problem.document_path}]
    text = "\n".join(escape_text(part, keep="") for part in (problem.message, problem.mend) if part)
    return {
        "ruleId": problem.code,
        "ruleIndex": index,
        "level": problem.severity.value,
        "message": {"text": text},
        "locations": [location],
    }
