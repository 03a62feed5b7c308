"""Problems as text, JSON, GitHub workflow commands and SARIF; nothing in them steers a terminal or another command."""

from __future__ import annotations

import json

import pytest

from opsascode.cli._console import escape_text
from opsascode.cli._problems import FORMATS, count_line, format_report
from opsascode.errors import Position
from opsascode.repo import CheckReport, Problem, Severity

PLAIN = Problem(
    position=Position(path="playbooks/a b.yml", line=3, column=7),
    code="unknown-key", document_path="spec.steps[0].tusk",
    message="there is no key «tusk»", mend="did you mean «task»?",
)  # fmt: skip
NASTY = Problem(
    position=Position(path="a:b,c%\n.yml"),
    code="x",
    message="50%\r\n::error::forged \x1b[2J\u202e",
    severity=Severity.WARNING,
)


def report(*problems: Problem) -> CheckReport:
    return CheckReport(files=2, documents=1, problems=problems)


def test_text_says_where_what_and_how_to_mend_it() -> None:
    assert format_report(report(PLAIN), "text", base="../").splitlines() == [
        "../playbooks/a b.yml:3:7: error: there is no key «tusk» [unknown-key]",
        "    spec.steps[0].tusk  → did you mean «task»?",
        "1 document in 2 files: 1 error",
    ]


def test_the_last_line_counts() -> None:
    assert count_line(report()) == "1 document in 2 files: no problems"
    assert count_line(report(PLAIN, PLAIN, NASTY)) == "1 document in 2 files: 2 errors, 1 warning"


def test_json_is_complete() -> None:
    told = json.loads(format_report(report(PLAIN, NASTY), "json"))
    assert (told["files"], told["documents"], told["ok"]) == (2, 1, False)
    assert told["problems"][0] == {
        "path": "playbooks/a b.yml", "line": 3, "column": 7, "severity": "error", "code": "unknown-key",
        "document_path": "spec.steps[0].tusk", "message": "there is no key «tusk»", "mend": "did you mean «task»?",
    }  # fmt: skip


def test_github_commands_are_escaped() -> None:
    first, second = format_report(report(PLAIN, NASTY), "github").split("\n")
    assert first == (
        "::error file=playbooks/a b.yml,line=3,col=7,title=unknown-key::"
        "there is no key «tusk» (spec.steps[0].tusk)%0Adid you mean «task»?"
    )
    assert (
        second == "::warning file=a%3Ab%2Cc%25\\u000a.yml,line=1,col=1,title=x"
        "::50%25\\u000d\\u000a::error::forged \\u001b[2J\\u202e"
    )


def test_sarif_has_rules_and_relative_places() -> None:
    told = json.loads(format_report(report(PLAIN, NASTY), "sarif"))
    assert told["version"] == "2.1.0"
    (run,) = told["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["unknown-key", "x"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "playbooks/a%20b.yml", "uriBaseId": "ROOT"}
    assert place["region"] == {"startLine": 3, "startColumn": 7}
    assert run["results"][0]["level"] == "error"
    assert run["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%3Ab%2Cc%25%0A.yml"


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_lets_a_document_steer_the_terminal(form: str) -> None:
    told = format_report(report(NASTY), form)
    assert not {"\x1b", "\u202e", "\r"} & set(told)
    assert not any(line.startswith("::error") for line in told.splitlines())


@pytest.mark.parametrize("form", FORMATS)
def test_a_clean_report_has_every_form(form: str) -> None:
    format_report(report(), form)


def test_an_unknown_form_is_a_defect() -> None:
    with pytest.raises(ValueError, match="xml"):
        format_report(report(), "xml")


def test_ordinary_text_stays_as_it_is() -> None:
    assert escape_text("«Grüße» → 日本語") == "«Grüße» → 日本語"
