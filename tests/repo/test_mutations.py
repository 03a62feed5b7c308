"""Damaged runbooks: whatever stands where in one, the answer is problems, and the quick verdict is never too kind."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo import Source, load_source
from opsascode.repo._analysis import analyse
from opsascode.repo._build import build_runbook
from opsascode.repo._documents import Kind
from opsascode.repo._schema import kind_of, schema_problems, validator
from tests.repo.test_documents import FULL

WHOLE = yaml.safe_load(FULL)
ODD: list[Any] = [
    None, True, False, 0, 1, -3, 2.5, 10**30, "", "x", "{{ x }}", "{{", "100%", "0s", "5s", [], {}, [1], ["a"], [[]],
    [None], {"a": 1}, {"x": None}, {"type": "string"},
]  # fmt: skip
KEYS = (
    "task", "check", "role", "undo", "when", "with", "x", "http", "expect", "register", "loop", "vars", "secret",
    "type",
    "items", "default", "enum", "approval", "timeout", "retry", "runbook",
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key (or index) in a value."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        here = pending.pop()
        inner = (
            list(here.items()) if isinstance(here, dict) else list(enumerate(here)) if isinstance(here, list) else []
        )
        found += [(here, key) for key, _ in inner]
        pending += [child for _, child in inner]
    return found


def damaged(chance: random.Random) -> bytes:
    value = copy.deepcopy(WHOLE)
    for _ in range(chance.randint(1, 5)):
        container, key = chance.choice(places(value) or [({}, "x")])
        deed = chance.random()
        if deed < 0.5:
            container[key] = copy.deepcopy(chance.choice(ODD))
        elif deed < 0.7 and key in (container if isinstance(container, dict) else range(len(container))):
            del container[key]
        elif isinstance(container, dict):
            container[chance.choice(KEYS)] = copy.deepcopy(chance.choice(ODD))
    return json.dumps(value, ensure_ascii=False).encode()


@given(st.integers())
def test_damage_is_answered_with_problems(seed: int) -> None:
    data = damaged(random.Random(seed))  # noqa: S311 - damage, not secrets
    facts = analyse(data, "x.yml")
    for document in load_source(data, "x.yml").documents:
        if kind_of(document) is not Kind.RUNBOOK:
            continue
        errors = list(validator(Kind.RUNBOOK).iter_errors(document.value))
        assert bool(errors) == bool(schema_problems(document))
        if not facts.problems:
            build_runbook(document, Source.of("x.yml", data))
