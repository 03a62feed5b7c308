"""The pack's own document: what is valid, what it means, and what a snapshot holds."""

from __future__ import annotations

import pytest

from opsascode.repo import (
    EMPTY_SNAPSHOT,
    InvalidDocumentsError,
    ProtectedFile,
    Snapshot,
    check_repository,
    meanings,
    open_repository,
    pack_of,
    policies_of,
    snapshot_of,
)
from tests.repo.conftest import World, runbook
from tests.repo.pasts import guardrail

PACK = """\
apiVersion: opsascode/v1
kind: PolicyPack
metadata: {name: pack, version: "20251014"}
spec:
  enforce: {runbook: push, parameters: {}, limit: firewalls}
  on_policy_rollback: none
"""
SMALL = "apiVersion: opsascode/v1\nkind: PolicyPack\nmetadata: {name: pack}\n"


def snapshot(**files: str) -> Snapshot:
    return snapshot_of("", [ProtectedFile.of(f"policies/{name}.yml", text.encode()) for name, text in files.items()])


def test_a_pack_says_its_version_what_enforces_it_and_what_follows() -> None:
    pack = pack_of(snapshot(pack=PACK))
    assert pack is not None
    assert pack.enforce is not None
    assert (pack.version, pack.locks_on_rollback) == ("20251014", False)
    assert (pack.enforce.runbook, pack.enforce.parameters, pack.enforce.limit) == ("push", {}, "firewalls")
    small = pack_of(snapshot(pack=SMALL))
    assert small is not None
    assert (small.version, small.enforce, small.locks_on_rollback) == (None, None, True)
    assert pack_of(EMPTY_SNAPSHOT) is None


@pytest.mark.parametrize("version", ["20251014", "20251014.2", "1.2.0", "1.2.0-rc.1"])
def test_versions_are_dates_or_semantic(version: str, world: World) -> None:
    root = world({"policies/pack.yml": PACK.replace("20251014", version), "playbooks/push.yml": runbook("push")})
    assert check_repository(open_repository(root)).problems == ()


@pytest.mark.parametrize("version", ['"2025101"', "20251014", "20251014.2", '"20251014.0"', '"v1"', '"20251014.2.3x"'])
def test_other_versions_are_refused(version: str, world: World) -> None:
    text = PACK.replace('"20251014"', version)
    root = world({"policies/pack.yml": text, "playbooks/push.yml": runbook("push")})
    (problem,) = check_repository(open_repository(root)).problems
    assert problem.document_path == "metadata.version"


def test_the_default_is_to_lock_and_weakening_it_is_a_change_of_a_protected_leaf() -> None:
    (locks,) = meanings(ProtectedFile.of("policies/pack.yml", SMALL.encode()))
    (same,) = meanings(ProtectedFile.of("policies/pack.yml", f"{SMALL}spec: {{on_policy_rollback: lock}}\n".encode()))
    (loose,) = meanings(ProtectedFile.of("policies/pack.yml", f"{SMALL}spec: {{on_policy_rollback: none}}\n".encode()))
    path = ("spec", "on_policy_rollback")
    assert locks.digest == same.digest != loose.digest
    assert (locks.leaves[path], loose.leaves[path], path in locks.protected) == (True, False, True)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"policies/pack.yml": PACK}, "unknown-runbook"),
        ({"policies/other.yml": SMALL}, "wrong-folder"),
        ({"playbooks/pack.yml": SMALL}, "wrong-folder"),
        ({"policies/pack.yml": f"{SMALL}---\n{SMALL}"}, "shared-name"),
        ({"policies/pack.yml": f"{SMALL}spec: {{on_policy_rollback: maybe}}\n"}, "unknown-value"),
        (
            {"policies/pack.yml": PACK.replace("{}", "{x: 1}"), "playbooks/push.yml": runbook("push")},
            "unknown-parameter",
        ),
    ],
)
def test_what_is_wrong_with_a_pack_is_told(files: dict[str, str], code: str, world: World) -> None:
    found = check_repository(open_repository(world(files))).problems
    assert [each.code for each in found] == [code]


def test_guardrails_are_used_although_the_runbook_is_not_in_the_snapshot(world: World) -> None:
    files = {"policies/pack.yml": PACK, "policies/a.yml": guardrail(), "playbooks/push.yml": runbook("push")}
    assert [each.metadata.name for each in open_repository(world(files)).policies().guardrails] == ["deny-drop"]


def test_guardrails_of_a_snapshot_are_those_of_its_bytes() -> None:
    found = policies_of(snapshot(pack=PACK, b=guardrail("b", max_hosts=2), a=guardrail("a", max_hosts=1))).guardrails
    assert [(each.metadata.name, each.require.max_hosts, each.source.path) for each in found] == [
        ("a", 1, "policies/a.yml"),
        ("b", 2, "policies/b.yml"),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"x": "a: ["},
        {"x": guardrail().replace("Guardrail", "Runbook")},
        {"a": guardrail(), "b": guardrail()},
        {"x": SMALL},
        {"x": ""},
    ],
)
def test_one_document_that_cannot_be_used_makes_the_pack_unusable(bad: dict[str, str]) -> None:
    with pytest.raises(InvalidDocumentsError):
        policies_of(snapshot(fine=guardrail("fine"), **bad))
    found = pack_of(snapshot(pack=PACK, **bad))
    assert found is not None
    with pytest.raises(InvalidDocumentsError):
        pack_of(snapshot(pack="a: ["))
