"""How do rules and their tests stand in a file? YAML, written in one form, byte for byte the same each time.

Text is plain where that is safe, else in single quotes, else with escapes; expressions of several lines are blocks. It
is written here and not by a library, as a thousand services are some hundred thousand rules.

Not here: what the rules are (`_rules`, `_rule_tests`), putting files in their place (`_place`).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opsascode.slo._promql import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.slo._rule_tests import RuleTests
    from opsascode.slo._rules import RuleFile
    from opsascode.slo._series import PromRule

MARK: Final = "# Written by opsascode slo rules from reliability policies. Change those, not this file."

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_:./-]*[A-Za-z0-9_]")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_LINE: Final = re.compile("[\x20-\x7e\xa0-\u2027\u202f-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")
_ODD: Final = re.compile("[\x7f-\x9f\u2028-\u202e\ufeff\ufffe\uffff\ud800-\udfff]")


def rules_text(file: RuleFile) -> str:
    """Write the rules of one service; what was left out is told in comments."""
    return "\n".join((*_head(file), "groups:", *_groups(file), ""))


def unit_tests_text(tests: RuleTests) -> str:
    """Write the unit tests of the rules of one service, for `promtool test rules`."""
    lines = [MARK, *(f"# {_one_line(each)}" for each in tests.left_out), "rule_files:", f"  - {scalar(tests.rules)}"]
    lines += [f"evaluation_interval: {span(tests.interval)}", "tests:"]
    for case in tests.cases:
        about = f"{case.name}: {', '.join(case.about)}"
        lines += [f"  - name: {scalar(about)}", f"    interval: {span(case.interval)}"]
        lines.append(f"    input_series:{'' if case.series else ' []'}")
        for series, values in case.series:
            lines += [f"      - series: {scalar(series)}", f"        values: {scalar(values)}"]
        if case.expectations:
            lines.append("    promql_expr_test:")
        for expected in case.expectations:
            lines += [f"      - expr: {scalar(expected.expr)}", f"        eval_time: {span(expected.at)}"]
            lines.append(f"        exp_samples:{'' if expected.value is not None else ' []'}")
            if expected.value is not None:
                lines += ["          - labels: '{}'", f"            value: {expected.value}"]
    return "\n".join((*lines, ""))


@lru_cache(maxsize=8192)
def scalar(text: str) -> str:
    """Write a text so that YAML 1.1 and 1.2 read that very text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if _LINE.fullmatch(text):
        return f"'{text.replace(chr(39), chr(39) * 2)}'"
    return _ODD.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _head(file: RuleFile) -> Iterator[str]:
    yield MARK
    for each in file.dropped:
        yield f"# Left out, as it can never fire: {_one_line(each.message)}"


def _groups(file: RuleFile) -> Iterator[str]:
    for group in file.groups:
        yield f"  - name: {scalar(group.name)}"
        yield f"    interval: {span(group.interval)}"
        yield "    rules:"
        for rule in group.rules:
            yield from _rule(rule)


def _rule(rule: PromRule) -> Iterator[str]:
    kind = "record" if rule.record else "alert"
    yield f"      - {kind}: {scalar(rule.name)}"
    yield from _expression(rule.expr)
    if rule.wait:
        yield f"        for: {span(rule.wait)}"
    if rule.keep:
        yield f"        keep_firing_for: {span(rule.keep)}"
    yield "        labels:"
    yield from _mapping(rule.labels, "          ")
    if rule.annotations:
        yield "        annotations:"
        yield from _mapping(rule.annotations, "          ")


def _expression(text: str) -> Iterator[str]:
    lines = text.split("\n")
    if len(lines) == 1 or not all(_LINE.fullmatch(line) and line.strip() == line and line for line in lines):
        yield f"        expr: {scalar(text)}"
        return
    yield "        expr: |-"
    yield from (f"          {line}" for line in lines)


def _mapping(pairs: Mapping[str, str], indent: str) -> Iterator[str]:
    for name, value in sorted(pairs.items()):
        yield f"{indent}{name}: {scalar(value)}"


def _one_line(text: str) -> str:
    """Keep a text of a policy within its comment."""
    return text if _LINE.fullmatch(text) else json.dumps(text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - the two lengths YAML has
