"""Can Ansible read this host pattern, and does it say what it seems to say?

Only the form is judged; which hosts it names is for Ansible and the inventory
(https://docs.ansible.com/ansible/latest/inventory_guide/intro_patterns.html).
"""

from __future__ import annotations

import re

from opsascode.repo._expressions import is_template
from opsascode.repo._problem import quoted

_SEPARATOR = re.compile(r"[:,](?![^\[]*\])")


def pattern_fault(pattern: str) -> tuple[str, str] | None:  # noqa: PLR0911 - one return for each thing to say
    """Say what is wrong with a host pattern and how to mend it, or nothing."""
    if is_template(pattern):
        return (
            "hosts cannot hold a template: targets are resolved before anything runs",
            "name a group; narrow it with --limit",
        )
    if pattern.count("[") != pattern.count("]"):
        return f"the host pattern {quoted(pattern)} has an unbalanced bracket", "close it"
    if pattern.lstrip().startswith("~"):
        return _expression_fault(pattern.strip())
    terms = [term.strip() for term in _SEPARATOR.split(pattern)]
    if "" in terms:
        return f"the host pattern {quoted(pattern)} has an empty part", "delete the separator that is too much"
    for term in terms:
        fault = _term_fault(term)
        if fault is not None:
            return fault
    if all(term[0] in "!&" for term in terms):
        return (
            f"the host pattern {quoted(pattern)} only takes away, so Ansible starts from all hosts",
            f"say so: all:{pattern}",
        )
    return None


def _term_fault(term: str) -> tuple[str, str] | None:
    bare = term.lstrip("!&")
    if not bare:
        return f"{quoted(term)} in the host pattern names no host or group", "write the name behind it"
    if bare.startswith("~"):
        return _expression_fault(bare)
    if bare.startswith("@"):
        return "a host pattern of a document cannot read names from a file", "name a group of the inventory"
    if re.search(r"\s", bare):
        return f"{quoted(term)} in the host pattern holds a space", "separate names with : or ,"
    return None


def _expression_fault(term: str) -> tuple[str, str] | None:
    try:
        re.compile(term[1:])
    except re.error as error:
        return f"the regular expression {quoted(term)} in the host pattern is not readable: {error}", "mend it"
    return None
