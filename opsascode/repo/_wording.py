"""How is an error of a schema said so that the person who wrote the document can mend it?

Each keyword of our schemas has its sentence. A schema says in `x-opsascode-hint` what it wants in words, which reads
better than its pattern. Not here: finding the errors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from opsascode.repo._problem import Problem, did_you_mean, path_text, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_TRUTH = {
    "true": "true",
    "false": "false",
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
}
_DAYS = "(h|d)$"
_USER = re.compile(r"//[^/@\s]*@")
_DECIMAL = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?")
_REASONS = {
    ("playbook", ""): "an imported playbook runs as it stands: Ansible gives it no options",
    ("runbook", ""): "the other runbook's own steps say that",
    ("approval", ""): "people are asked, Ansible takes no part",
    ("approval", "loop"): "people are asked once; name everything in the message",
    ("approval", "when"): "people are asked for the whole wave, a condition is answered host by host",
    ("approval", "undo"): "an approval changes nothing that could be taken back",
    ("approval", "timeout"): "write expires inside approval",
    ("manual", ""): "people are asked, Ansible takes no part",
    ("manual", "loop"): "people are asked once; name everything in the instructions",
    ("manual", "when"): "people are asked for the whole wave, a condition is answered host by host",
    ("manual", "undo"): "what people did by hand is taken back by hand; write a manual step for it",
    ("playbook", "loop"): "Ansible cannot repeat a playbook; make a role of it",
    ("notify", ""): "a notice only says something",
    ("role", "retry"): "Ansible cannot repeat a role as a whole",
    ("role", "register"): "a role has no result of its own; name what it sets in outputs",
    ("tcp", "expect"): "a tcp check expects that the port accepts a connection, nothing else",
    ("prometheus", "from"): "Prometheus is always asked by the controller",
    ("command", "from"): "a command always runs on the host; use delegate_to on the step for another one",
}


def explain(error: Any, path: DocumentPath, document: SourceDocument) -> Iterator[Problem]:  # noqa: ANN401 - jsonschema's error class stays in _schema
    """Turn one error of the validator into problems: mostly one, and one for each unknown key."""
    sentence = _SENTENCES.get(error.validator)
    if error.validator == "additionalProperties":
        yield from _unknown_keys(error, path, document)
    elif "propertyNames" in list(error.absolute_schema_path)[-2:]:
        yield from _key_name(error, path, document)
    elif error.validator == "oneOf":
        yield from _not_one(error, path, document)
    elif error.validator == "required":
        yield from _missing(error, path, document)
    elif error.validator == "dependentRequired":
        (key, others), *_ = error.validator_value.items()
        message = f"{quoted(key)} only has a meaning beside {quoted(others[0])}"
        yield _problem(document, (*path, key), "misplaced-key", message, "leave it out", at_key=True)
    elif sentence is not None:
        message, mend = sentence(error, _subject(path, document))
        yield _problem(document, path, error.validator, message, mend)
    else:  # pragma: no cover - every keyword of our schemas has its sentence; a test holds this
        yield _problem(document, path, "schema", error.message, "")


def _problem(
    document: SourceDocument, path: DocumentPath, keyword: str, message: str, mend: str, *, at_key: bool = False
) -> Problem:
    position = document.key_position(path) if at_key else document.position(path)
    code = _CODES.get(keyword, keyword)
    return Problem(position=position, document_path=path_text(path), code=code, message=message, mend=mend)


def _subject(path: DocumentPath, document: SourceDocument) -> str:
    """Name what is wrong: the nearest key; inside a list the step's id, or the item's number."""
    if not path:
        return "the document"
    if not isinstance(path[-1], int):
        return quoted(path[-1])
    item = document.at(path)
    if path[:-1] == ("spec", "steps") and isinstance(item, dict) and isinstance(item.get("id"), str):
        return f"step {quoted(item['id'])}"
    return f"item {path[-1] + 1} of {_subject(path[:-1], document)}"


def _unknown_keys(error: Any, path: DocumentPath, document: SourceDocument) -> Iterator[Problem]:  # noqa: ANN401 - see explain
    known = error.schema.get("properties", {})
    for key in error.instance:
        if key in known:
            continue
        place = f"in {_subject(path, document)}" if path else "at the top of a document"
        message, mend = f"there is no key {quoted(key)} {place}", did_you_mean(key, known)
        yield _problem(document, (*path, key), "additionalProperties", message, mend, at_key=True)


def _key_name(error: Any, path: DocumentPath, document: SourceDocument) -> Iterator[Problem]:  # noqa: ANN401 - see explain
    """Explain a key that is well known but out of place, or a name that is no name."""
    key, parent = error.instance, document.at(path)
    where = (*path, key)
    if error.validator != "enum":
        hint = error.schema.get("x-opsascode-hint", "a name that can stand here")
        yield _problem(document, where, "pattern", f"{quoted(key)} is not {hint}", "rename it", at_key=True)
        return
    written = parent if isinstance(parent, dict) else {}
    kind = next((each for each in error.validator_value if each in _KINDS and each in written), "")
    if kind and key in _KINDS:
        return  # that there are two kinds is a problem of its own
    reason = _REASONS.get((kind, key)) or _REASONS.get((kind, "")) or ""
    beside = kind or f"type: {written.get('type')}"
    message = f"{quoted(key)} cannot stand beside {quoted(beside)}" + (f": {reason}" if reason else "")
    options = [each for each in error.validator_value if each != kind]
    mend = "leave it out" if reason or not options else f"leave it out; possible here: {', '.join(options)}"
    yield _problem(document, where, "misplaced-key", message, mend, at_key=True)


_STEPS = ("task", "check", "playbook", "role", "runbook", "notify", "approval", "manual")
_KINDS = frozenset({*_STEPS, "http", "tcp", "command", "prometheus", "that"})


def _not_one(error: Any, path: DocumentPath, document: SourceDocument) -> Iterator[Problem]:  # noqa: ANN401 - see explain
    """Explain that exactly one of some keys is wanted, unless another problem already says so."""
    kinds = [branch["required"][0] for branch in error.validator_value]
    instance = error.instance
    if not isinstance(instance, dict):
        return
    present = [kind for kind in kinds if kind in instance]
    unknown = [key for key in instance if key not in error.schema.get("properties", {})]
    if present:
        both = " and ".join(quoted(kind) for kind in present)
        message = f"{_subject(path, document)} has {both}; only one of them can stand there"
        yield _problem(document, (*path, present[1]), "oneOf", message, "make two of it, or delete one", at_key=True)
    elif not any(did_you_mean(key, kinds, list_up_to=0) for key in unknown):
        what = "what to do" if kinds[0] in _KINDS else "what it is"
        message = f"{_subject(path, document)} does not say {what}: one of its kinds is missing"
        yield _problem(document, path, "oneOf", message, f"write one of: {', '.join(kinds)}")


def _missing(error: Any, path: DocumentPath, document: SourceDocument) -> Iterator[Problem]:  # noqa: ANN401 - see explain
    """Explain a missing key; one problem for each, unless it is there under a misspelt name."""
    if not isinstance(error.instance, dict):
        return
    key = next((key for key in error.validator_value if f"'{key}'" in error.message.split(" is a required")[0]), "")
    known = error.schema.get("properties", {})
    strangers = [each for each in error.instance if each not in known] if known else []
    if any(did_you_mean(each, [key], list_up_to=0) for each in strangers):
        return
    message = f"{quoted(key)} is missing in {_subject(path, document)}"
    described = known.get(key, {})
    const = described.get("const") if isinstance(described, dict) else None
    yield _problem(document, path, "required", message, f"write {key}: {const if const is not None else '…'}")


def _type(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    hint = error.schema.get("x-opsascode-hint") or " or ".join(_TYPES[word] for word in wanted)
    value = error.instance
    if isinstance(value, dict | list):
        shown = _TYPES["object" if isinstance(value, dict) else "array"]
    else:
        shown = "empty" if value is None else quoted(value)
    return f"{subject} must be {hint}, not {shown}", _type_mend(value, wanted, error.schema)


def _type_mend(value: Any, wanted: list[str], schema: Any) -> str:  # noqa: ANN401, PLR0911 - any plain value and schema; one return for each mistake
    """Say what to type instead of a value of another type."""
    if "boolean" in wanted and isinstance(value, str) and value.lower() in _TRUTH:
        return f"write {_TRUTH[value.lower()]}"
    if value is None:
        return "write its value, or delete the key"
    if "string" in wanted and isinstance(value, int | float) and not isinstance(value, bool):
        if "s|m|h|d)" in schema.get("pattern", ""):
            return f"add a unit, such as {value}s"
        if schema.get("pattern", "").endswith(_DAYS):
            return f"add a unit, such as {value}d"
        if schema.get("pattern", "").endswith("%$"):
            return f"write {value * 100 if 0 < value < 1 else value:g}%"
        return f'quote it: "{value}"'
    if "string" in wanted and isinstance(value, bool):
        return f'quote it if it is meant as text: "{str(value).lower()}"'
    if {"integer", "number"} & set(wanted) and isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        return f"write it without quotes: {value.strip()}"
    if wanted == ["array"]:
        return "write it as a list: [ … ]"
    return ""


def _enum(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
    words = [str(word) for word in error.validator_value if isinstance(word, str | int)]
    return f"{quoted(error.instance)} is no value of {subject}", did_you_mean(str(error.instance), words)


def _const(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
    wanted = str(error.validator_value)
    wanted = wanted.lower() if isinstance(error.validator_value, bool) else wanted
    return f"{subject} must be {quoted(wanted)}, not {quoted(error.instance)}", f"write {wanted}"


def _pattern(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
    hint = error.schema.get("x-opsascode-hint")
    mend = ""
    if "s|m|h|d)" in error.validator_value and error.instance.isdecimal():
        mend = f"add a unit, such as {error.instance}s"
    elif error.validator_value.endswith(_DAYS) and error.instance.isdecimal():
        mend = f"add a unit, such as {error.instance}d"
    elif error.validator_value.endswith("%$"):
        mend = _percent_mend(error.instance, is_promise="99.95%" in (hint or ""))
    message = f"{subject} must be {hint or 'a text of another form'}"
    if "secret" in (hint or ""):  # what stands there may be one, and problems are shown to anybody
        return message, mend
    return f"{message}, not {quoted(_USER.sub('//…@', error.instance))}", mend


def _percent_mend(text: str, *, is_promise: bool) -> str:
    """Say what to write instead of a text that is no percentage of the wanted form."""
    if text.endswith("ms") and text[:-2].isdecimal():
        return f"write {text[:-2]}"
    number = text.removesuffix("%").strip().replace(",", ".")
    if not _DECIMAL.fullmatch(number):
        return ""
    if float(number) == 0 or float(number) >= 100:  # noqa: PLR2004 - percent
        reason = "100% leaves no room for any failure, 0% promises nothing"
        return f"write one between them: {reason}" if is_promise else ""
    written = f"{number[: number.find('.') + 6] if '.' in number else number}%"
    return f"write {written}"


def _bound(words: str) -> Callable[[Any, str], tuple[str, str]]:
    def sentence(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
        return f"{subject} must be {words} {error.validator_value}, not {quoted(error.instance)}", ""

    return sentence


def _too_short(error: Any, subject: str) -> tuple[str, str]:  # noqa: ANN401 - see explain
    mend = "write at least one" if error.validator == "minItems" else "write something, or delete the key"
    return f"{subject} must not be empty", mend


_SENTENCES: dict[str, Callable[[Any, str], tuple[str, str]]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minimum": _bound("at least"),
    "maximum": _bound("at most"),
    "exclusiveMinimum": _bound("more than"),
    "minLength": _too_short,
    "minItems": _too_short,
    "minProperties": _too_short,
    "maxLength": lambda error, subject: (f"{subject} is longer than {error.validator_value} characters", "shorten it"),
    "uniqueItems": lambda _error, subject: (f"{subject} holds a value twice", "keep one of them"),
}
_CODES = {
    "additionalProperties": "unknown-key",
    "required": "missing-key",
    "oneOf": "not-one-kind",
    "type": "wrong-type",
    "enum": "unknown-value",
    "const": "wrong-value",
    "pattern": "wrong-form",
    "minimum": "out-of-bounds",
    "maximum": "out-of-bounds",
    "exclusiveMinimum": "out-of-bounds",
    "minLength": "empty",
    "minItems": "empty",
    "minProperties": "empty",
    "maxLength": "too-long",
    "uniqueItems": "repeated",
}
