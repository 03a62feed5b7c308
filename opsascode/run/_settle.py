"""Which values and locks does a run have?

Parameters are given as texts, values or secrets, and held to what the runbook declares. Locks are names with templates;
those of composed runbooks count as well, with the values they are given.

Not here: hosts and steps (`_resolve`), where secrets come from (`cli`), holding a lock (`_locks`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError, ResolveError
from opsascode.repo import HOST_LOCK
from opsascode.run._compose import Expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.proof import Json
    from opsascode.repo import CheckedValue, Parameter, Runbook, Value
    from opsascode.run._compose import Composed
    from opsascode.run._resolve import Request

LONGEST_LOCK: Final = 200
_SHORTEST_LEAK: Final = 4
_HOST: Final = "host"
_TEMPLATE: Final = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}")


def settle_parameters(runbook: Runbook, request: Request) -> tuple[dict[str, Value], dict[str, Json]]:
    """Give the values of all parameters, and those of the secret ones apart.

    Raises:
        ResolveError: a value is missing, wrong, or would put a secret where it is recorded.
    """
    known = {parameter.name for parameter in runbook.parameters}
    given = {*request.texts, *request.values, *request.secrets}
    faults = [f"{name}: {runbook.metadata.name} has no such parameter" for name in sorted(given - known)]
    values: dict[str, Value] = {}
    secrets: dict[str, Json] = {}
    for parameter in runbook.parameters:
        name = parameter.name
        if parameter.secret and name in request.texts:
            faults.append(
                f"{name}: a secret cannot be given on the command line, where every user of the machine sees it"
            )
            continue
        if name not in given and parameter.required:
            faults.append(f"{name}: is required" + (f" ({parameter.description})" if parameter.description else ""))
            continue
        settled = _settle(parameter, request)
        faults.extend(f"{name}: {fault}" for fault in settled.faults)
        if parameter.secret:
            secrets[name] = str(settled.value)
        else:
            values[name] = settled.value
    faults.extend(_leaks(values, secrets))
    if faults:
        known_names = ", ".join(parameter.name for parameter in runbook.parameters) or "none"
        raise ResolveError("; ".join(faults), advice=f"parameters of {runbook.metadata.name}: {known_names}")
    return values, secrets


def _leaks(values: Mapping[str, Value], secrets: Mapping[str, Json]) -> Iterator[str]:
    """Find secrets that stand in another parameter too, which plan and record would hold for ever."""
    for name, secret in secrets.items():
        for other, value in values.items():
            if (
                isinstance(secret, str)
                and len(secret) >= _SHORTEST_LEAK
                and secret in json.dumps(value, ensure_ascii=False)
            ):
                yield f"{other}: holds the value of the secret {name}, and would be recorded"


def _settle(parameter: Parameter, request: Request) -> CheckedValue:
    name = parameter.name
    if name in request.texts:
        return parameter.from_text(request.texts[name])
    if name in request.secrets:
        return parameter.check(request.secrets[name])
    return parameter.check(request.values.get(name, parameter.default))


def lock_names(runbooks: Sequence[Composed], hosts: Sequence[str]) -> tuple[str, ...]:
    """Give the names of the locks a run holds, each once, in order.

    The runbook's own locks, and those a composed runbook asks for beyond the one for each host.

    Raises:
        DocumentError: a name depends on a value that is not known before the run.
    """
    names: set[str] = set()
    for number, composed in enumerate(runbooks):
        for written in composed.runbook.locks:
            if number == 0 or written != HOST_LOCK:
                names.update(_lock(written, composed, host) for host in hosts)
    return tuple(sorted(names))


def _lock(written: str, composed: Composed, host: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        value = host if match[1] == _HOST else composed.scope.get(match[1])
        if value is None or isinstance(value, Expression | list | tuple | dict):
            msg = f"the lock «{written}» of {composed.runbook.name} depends on a value that is not known before the run"
            advice = f"give {match[1]} as it is where the runbook is composed, not computed"
            raise DocumentError(msg, position=composed.runbook.position, advice=advice)
        return str(value).lower() if isinstance(value, bool) else str(value)

    name = _TEMPLATE.sub(value_of, written)
    if not name or len(name) > LONGEST_LOCK or not name.isprintable():
        msg = f"the lock «{written}» becomes a name that is empty, too long, or holds control characters"
        raise DocumentError(msg, position=composed.runbook.position, advice=f"at most {LONGEST_LOCK} characters")
    return name
