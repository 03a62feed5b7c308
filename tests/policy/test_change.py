"""What is signed about a change: one form, one id, and nothing in it that could be read in two ways."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import ApprovalError, Change, ChangeStatement, ForgeReview, Said, SeenCheckpoint
from opsascode.proof import APPROVAL_NAMESPACE, PAYLOAD_TYPE, armor, pre_authentication, statement_payload
from tests.people import BOB
from tests.transitions import Branch, guardrail

if TYPE_CHECKING:
    from pathlib import Path

ASKING = Branch.of({"policies/a.yml": guardrail()}).ask({"policies/a.yml": guardrail(max_hosts=3)})
CHECKPOINT = SeenCheckpoint(origin="ops/ledger", size=9120, root="A" * 43 + "=")
STATEMENT = ASKING.statement("bob", Said.APPROVE, checkpoint=CHECKPOINT, reason="zwei\nZeilen: gr\u00fcn")
REVIEW = ASKING.review(7)


def test_a_change_is_named_by_all_of_its_parts() -> None:
    change = ASKING.change
    others = [
        replace(change, repository="sha256:" + "0" * 64),
        replace(change, ref="refs/heads/other"),
        replace(change, base_commit=None),
        replace(change, base_scope="sha256:" + "0" * 64),
        replace(change, target_scope="sha256:" + "0" * 64),
        replace(change, classes=("forward", "rollback")),
        replace(change, root_version=2),
        replace(change, root_digest="sha256:" + "0" * 64),
    ]
    assert len({change.id, *(each.id for each in others)}) == 9
    for each in (change, *others):
        assert Change.of(each.to_json()) == each


def test_statements_read_back_as_they_were_written() -> None:
    assert ChangeStatement.of(STATEMENT.statement()) == STATEMENT
    assert ChangeStatement.of(replace(STATEMENT, checkpoint=None).statement()) == replace(STATEMENT, checkpoint=None)
    assert ForgeReview.of(REVIEW.statement()) == REVIEW


@pytest.mark.parametrize("key", sorted(STATEMENT.statement().predicate))
def test_a_part_of_another_form_is_refused(key: str) -> None:
    statement = STATEMENT.statement()
    wrong: list[Any] = [None, 1.5, -1, "", [], {}, "x" * 3000]
    if key == "checkpoint":
        wrong.remove(None)
    if key == "reason":
        wrong.remove("")
    for value in wrong:
        with pytest.raises(ApprovalError):
            ChangeStatement.of(replace(statement, predicate={**statement.predicate, key: value}))
    less = {name: value for name, value in statement.predicate.items() if name != key}
    with pytest.raises(ApprovalError):
        ChangeStatement.of(replace(statement, predicate=less))
    with pytest.raises(ApprovalError):
        ChangeStatement.of(replace(statement, predicate={**statement.predicate, "more": 1}))


BENT: dict[str, dict[str, Any]] = {
    "a homoglyph of a person": {"person": "\u0430lice"},
    "a person in capitals": {"person": "Bob"},
    "a time with an offset": {"issued": "2026-11-21T12:00:00+00:00"},
    "a time with one digit": {"issued": "2026-11-21T12:0:00Z"},
    "a short nonce": {"nonce": "0" * 31},
    "a digest in capitals": {"effects": "sha256:" + "AB" * 32},
    "an escape in the reason": {"reason": "\x1b[31m"},
    "a carriage return in the reason": {"reason": "yes\rno"},
    "a zero-width space in the reason": {"reason": "no\u200bt"},
    "text that turns in the reason": {"reason": "\u2066no"},
    "a decision nobody knows": {"decision": "Approve"},
    "a size that is true": {"checkpoint": {"origin": "a", "size": True, "root": "A" * 43 + "="}},
    "a checkpoint with more": {"checkpoint": {"origin": "a", "size": 1, "root": "A" * 43 + "=", "x": 1}},
}


@pytest.mark.parametrize("change", BENT.values(), ids=BENT)
def test_what_could_be_read_in_two_ways_is_refused(change: dict[str, Any]) -> None:
    statement = STATEMENT.statement()
    with pytest.raises(ApprovalError):
        ChangeStatement.of(replace(statement, predicate={**statement.predicate, **change}))


BENT_CHANGES: dict[str, dict[str, Any]] = {
    "a path out of refs": {"ref": "../main"},
    "an option as a ref": {"ref": "--upload-pack=x"},
    "a short commit": {"base_commit": "abc123"},
    "a class twice": {"classes": ["rollback", "rollback"]},
    "classes in no order": {"classes": ["weakening", "rollback"]},
    "a class nobody knows": {"classes": ["sideways"]},
    "no class": {"classes": []},
    "a class that is no text": {"classes": [1]},
    "version nought": {"root_version": 0},
    "a version as text": {"root_version": "1"},
    "a version that is true": {"root_version": True},
    "a part too many": {"force": True},
}


@pytest.mark.parametrize("bent", BENT_CHANGES.values(), ids=BENT_CHANGES)
def test_a_change_of_another_form_is_refused(bent: dict[str, Any]) -> None:
    with pytest.raises(ApprovalError):
        Change.of({**ASKING.change.to_json(), **bent})


def test_the_subject_is_the_change_that_is_spoken_of() -> None:
    other = replace(ASKING.change, ref="refs/heads/other")
    for made, reader in ((STATEMENT, ChangeStatement), (REVIEW, ForgeReview)):
        statement = made.statement()
        with pytest.raises(ApprovalError, match="another change"):
            reader.of(replace(statement, subject_digest=other.id))
    with pytest.raises(ApprovalError, match="ref"):
        ForgeReview.of(replace(REVIEW, ref="refs/heads/other").statement())


def test_ssh_keygen_accepts_what_we_accept(tmp_path: Path) -> None:
    payload = statement_payload(STATEMENT.statement())
    message = pre_authentication(PAYLOAD_TYPE, payload)
    (tmp_path / "sig").write_text(armor(BOB.sign(message)))
    (tmp_path / "signers").write_text(f"bob {BOB.key.openssh()}\n")
    words = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "bob", "-n", APPROVAL_NAMESPACE, "-s", "sig"]
    done = subprocess.run(words, cwd=tmp_path, input=message, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
