"""One meaning has one digest however it is written, and what has another effect has another."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from opsascode.repo import Absence, DocumentMeaning, Kind, ProtectedFile, Safety, Unreadable, meanings
from opsascode.repo._form import form_of, leaves_of
from opsascode.repo._schema import load_schema
from tests.repo.conftest import GOOD

GUARDRAIL = """\
apiVersion: opsascode/v1
kind: Guardrail
metadata: {name: small-steps}
spec:
  applies_to: {groups: [production, web], labels: {tier: "1", zone: a}}
  require: {max_hosts: 20, max_percent: 25}
  reason: because
"""
DEFAULTS = {("spec", "combine"): "deny-overrides", ("spec", "default"): ["allow"]}


def read(text: str, path: str = "policies/a.yml") -> tuple[DocumentMeaning, ...]:
    found = meanings(ProtectedFile.of(path, text.encode()))
    assert not isinstance(found, Unreadable), found.reason
    return found


def digest(text: str, path: str = "policies/a.yml") -> str:
    return read(text, path)[0].digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_percent: 25}", "max_percent: 25.0}"),
        ("max_percent: 25}", "max_percent: 25%}"),
        ("max_percent: 25}", 'max_percent: "25.00%"}'),
        ("max_percent: 25}", "max_percent: 2.5e1}"),
        ("max_hosts: 20", "max_hosts: 0x14"),
        ("max_hosts: 20", "max_hosts: 20.0"),
        ("max_hosts: 20", '"max\\x5fhosts": 20'),
        ("[production, web]", "[web, production]"),
        ('{tier: "1", zone: a}', "{zone: a, tier: '1'}"),
        ("reason: because", "reason: another one\n"),
        ("kind: Guardrail", "# comment\nkind: 'Guardrail'"),
        ("{name: small-steps}", "{name: small-steps, title: T, description: D, owners: [a], labels: {a: b}, version: 9.9.9}"),
        ("{max_hosts: 20, max_percent: 25}", "\n    max_percent: 25\n    max_hosts: 20"),
    ],
)  # fmt: skip
def test_spelling_order_style_and_metadata_without_effect_make_no_difference(old: str, new: str) -> None:
    assert old in GUARDRAIL
    assert digest(GUARDRAIL.replace(old, new)) == digest(GUARDRAIL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_percent: 25}", "max_percent: 25.5}"),
        ("max_hosts: 20", "max_hosts: 21"),
        ("[production, web]", "[production]"),
        ('tier: "1"', 'tier: "2"'),
        ("small-steps", "other-name"),
        (", max_percent: 25", ""),
    ],
)
def test_what_has_another_effect_has_another_digest(old: str, new: str) -> None:
    assert digest(GUARDRAIL.replace(old, new)) != digest(GUARDRAIL)


def test_a_document_is_known_again_under_another_name() -> None:
    one, other = read(GUARDRAIL)[0], read(GUARDRAIL.replace("small-steps", "other-name"))[0]
    assert one.digest != other.digest
    assert one.nameless == other.nameless
    assert one.nameless != read(GUARDRAIL.replace("20", "21"))[0].nameless


def test_leaves_are_in_one_normal_form_with_their_safe_direction() -> None:
    said = read(GUARDRAIL)[0]
    assert said.leaves == {
        ("spec", "applies_to", "groups"): ["production", "web"],
        ("spec", "applies_to", "labels"): ["tier=1", "zone=a"],
        ("spec", "require", "max_hosts"): 20,
        ("spec", "require", "max_percent"): 25,
        **DEFAULTS,
    }
    require, scope = ("spec", "require"), ("spec", "applies_to")
    assert said.safety[*require, "max_hosts"] is Safety.LOWER_IS_SAFER
    assert said.safety[*require, "triggers"] is Safety.SUBSET_IS_SAFER
    assert said.safety[*scope, "groups"] is Safety.SUPERSET_IS_SAFER
    assert said.absent[*scope, "groups"] is Absence.STRICTEST
    assert said.absent[*require, "clean_tree"] is Absence.LOOSEST
    assert {*said.leaves} - {*DEFAULTS} <= said.protected


def test_labels_that_read_alike_are_not_alike() -> None:
    one, other = (GUARDRAIL.replace('{tier: "1", zone: a}', each) for each in ('{"a=b": c}', "{a: b=c}"))
    assert digest(one) != digest(other)


def test_durations_defaults_and_lists_of_one_in_runbooks() -> None:
    base = GOOD.replace("NAME", "r")
    path = "playbooks/r.yml"
    long = base.replace("spec:", "spec:\n  timeout: 60s\n  on_failure: stop\n  approval: {required: 0, expires: 60m}")
    short = base.replace("spec:", "spec:\n  timeout: 1m")
    assert digest(long, path) == digest(short, path)
    assert digest(short, path) != digest(base, path)
    when, whens = (base.replace("ping: }}", f"ping: }}, when: {each}}}") for each in ("x", "[x]"))
    assert digest(when, path) == digest(whens, path)


def test_items_with_an_id_are_rules_of_their_own() -> None:
    base = GOOD.replace("NAME", "r")
    more = base + "    - {id: b, task: {ansible.builtin.ping: }}\n"
    one, two = read(base, "playbooks/r.yml")[0], read(more, "playbooks/r.yml")[0]
    assert one.rules.keys() == {"steps/a"}
    assert two.rules.keys() == {"steps/a", "steps/b"}
    assert two.rules["steps/a"] == one.rules["steps/a"]


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "", "kind: Guardrail\n", GUARDRAIL.replace("Guardrail", "Unheard"), GUARDRAIL + "spec: {}\n",
        GUARDRAIL.replace("opsascode/v1", "opsascode/v2"), GUARDRAIL.replace("20", "&a 20"), GUARDRAIL + "---\nx: 1\n",
        "\ufeff" + GUARDRAIL,
    ],
)  # fmt: skip
def test_what_nobody_can_read_for_certain_is_unreadable(text: str) -> None:
    found = meanings(ProtectedFile.of("policies/a.yml", text.encode()))
    assert isinstance(found, Unreadable)
    assert found.reason.startswith("policies/a.yml:")


@pytest.mark.parametrize(
    "path",
    ["inventories/a.yml", "policies/README.md", "policies/trust/1.root.json", "policies/.a.yml", "playbooks/vars/a.yml",
     "playbooks/ansible/a.yml", "policies/roles/a.yml", "docs/policies/a.yml"],
)  # fmt: skip
def test_files_that_are_no_documents_have_no_meanings(path: str) -> None:
    assert meanings(ProtectedFile.of(path, b"a: [")) == ()


def _fields(schema: Any, definitions: Any) -> Any:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if schema.get("properties") and "x-opsascode-safety" not in schema:
        for key, each in schema["properties"].items():
            for path, leaf in _fields(each, definitions):
                yield (key, *path), leaf
    elif "x-opsascode-safety" not in schema and any(
        _is_mapping(schema, key) for key in ("items", "additionalProperties")
    ):
        inner = next(schema[key] for key in ("items", "additionalProperties") if _is_mapping(schema, key))
        for path, leaf in _fields(inner, definitions):
            yield ("*", *path), leaf
    else:
        yield (), schema


def _is_mapping(schema: Any, key: str) -> bool:
    return isinstance(schema.get(key), dict) and bool({"properties", "$ref"} & schema[key].keys())


PROTECTED = [
    Kind.GUARDRAIL, Kind.POLICY_PACK, Kind.REPOSITORY, Kind.RELIABILITY_POLICY, Kind.CALENDAR, Kind.SEVERITY_SCHEME,
]  # fmt: skip


@pytest.mark.parametrize("kind", PROTECTED, ids=lambda each: each.value)
def test_every_leaf_of_what_is_protected_says_which_direction_is_safe(kind: Kind) -> None:
    schema = load_schema(kind)
    leaves = dict(_fields(schema, schema["$defs"]))
    assert len(leaves) > 8
    assert [path for path, leaf in leaves.items() if "x-opsascode-safety" not in leaf] == []
    safe = {path: leaf for path, leaf in leaves.items() if leaf["x-opsascode-safety"] not in {"neutral", "unclear"}}
    unsaid = [
        path for path, leaf in safe.items() if not {"x-opsascode-absent", "default"} & leaf.keys() and "*" not in path
    ]
    assert unsaid == []


@pytest.mark.parametrize("kind", list(Kind), ids=lambda each: each.value)
def test_annotations_are_words_we_know_and_change_nothing_that_is_valid(kind: Kind) -> None:
    schema = load_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert form_of(kind).fields["spec"].fields
    assert leaves_of(kind)
