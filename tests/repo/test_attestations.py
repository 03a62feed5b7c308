"""What people signed about a change finds every place that judges it, and nothing else does any harm there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.proof import PREDICATE_PREFIX, Statement, payload_digest, statement_payload
from opsascode.repo import ATTESTATIONS_REF, Attestations
from tests.people import ALICE, BOB, Hand
from tests.repo.test_mailbox import clone, git
from tests.repo.test_mailbox import remote as remote  # noqa: PLC0414 - a fixture of the neighbour

if TYPE_CHECKING:
    from pathlib import Path

CHANGE, OTHER = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32


def signed(hand: Hand, change: str = CHANGE) -> bytes:
    """Something signed; what it says is not looked at here."""
    statement = Statement(
        predicate_type=f"{PREDICATE_PREFIX}policy-approval:v1",
        subject_name="change",
        subject_digest=change,
        predicate={"person": hand.seed},
    )
    return hand.envelop(statement_payload(statement))


def opened(place: Path, remote: str | None = "origin") -> Attestations:
    found = Attestations.of(place, remote)
    assert found is not None
    return found


def post(where: Attestations, envelope: bytes, change: str = CHANGE) -> None:
    where.post(change, payload_digest(envelope), envelope)


def pushed(place: Path, *lines: tuple[str, str, bytes], ref: str = ATTESTATIONS_REF) -> None:
    """Push a tree made by hand, as whoever may push can."""
    index = "".join(
        f"{mode} {git(place, 'hash-object', '-w', '--stdin', data=content).strip()}\t{path}\n"
        for mode, path, content in lines
    )
    git(place, "read-tree", "--empty")
    git(place, "update-index", "--add", "--index-info", data=index.encode())
    commit = git(place, "commit-tree", "-m", "x", git(place, "write-tree").strip()).strip()
    git(place, "push", "--quiet", "--force", "origin", f"{commit}:{ref}")
    git(place, "reset", "--quiet", "--hard")


def test_what_one_leaves_others_and_the_server_find(remote: Path) -> None:
    ours, theirs = opened(clone(remote, "one")), opened(clone(remote, "two"))
    by_alice, by_bob = signed(ALICE), signed(BOB)
    post(ours, by_alice)
    theirs.fetch()
    assert theirs.of_change(CHANGE) == (by_alice,)
    post(theirs, by_bob)
    post(theirs, signed(BOB, OTHER), OTHER)
    for server in (opened(remote, None), Attestations.of_bare(remote)):
        assert set(server.of_change(CHANGE)) == {by_alice, by_bob}
        assert server.of_change(OTHER) == (signed(BOB, OTHER),)
    assert ours.of_change(CHANGE) == (by_alice,)
    ours.fetch()
    assert set(ours.of_change(CHANGE)) == {by_alice, by_bob}


def test_several_ids_of_one_change_are_read_together(remote: Path) -> None:
    place = opened(clone(remote, "one"), None)
    post(place, signed(ALICE))
    post(place, signed(BOB, OTHER), OTHER)
    ids = [CHANGE, OTHER, *("sha256:" + f"{number:064x}" for number in range(100))]
    assert set(place.of_change(CHANGE, OTHER)) == set(place.of_change(*ids)) == {signed(ALICE), signed(BOB, OTHER)}


def test_the_same_content_under_several_names_is_read_once(remote: Path) -> None:
    place = clone(remote, "one")
    envelope = signed(ALICE)
    folder = f"changes/ab/{'ab' * 32}"
    pushed(place, *(("100644", f"{folder}/{number:064x}.json", envelope) for number in range(5)))
    found = opened(place)
    found.fetch()
    assert found.of_change(CHANGE) == (envelope,)


def test_odd_paths_links_and_sizes_are_passed_over(remote: Path) -> None:
    place = clone(remote, "one")
    good, folder = signed(ALICE), f"changes/ab/{'ab' * 32}"
    pushed(
        place,
        ("100644", f"{folder}/{payload_digest(good)[7:]}.json", good),
        ("120000", f"{folder}/{'1' * 64}.json", b"link"),
        ("100755", f"{folder}/{'2' * 64}.json", b"program"),
        ("100644", f"{folder}/{'3' * 64}.json", b"x" * 65536),
        ("100644", f"{folder}/{'4' * 64}.JSON", b"x"),
        ("100644", f"{folder}/deep/{'5' * 64}.json", b"x"),
        ("100644", f"changes/cd/{'ab' * 32}/{'6' * 64}.json", b"in the folder of another"),
        ("100644", "README", b"x"),
    )
    found = opened(place)
    found.fetch()
    assert found.of_change(CHANGE) == (good,)
    post(found, signed(BOB))
    assert set(opened(remote, None).of_change(CHANGE)) == {good, signed(BOB)}


def test_a_flood_is_told_and_not_read(remote: Path) -> None:
    place = clone(remote, "one")
    lines = [("100644", f"changes/ab/{'ab' * 32}/{number:064x}.json", b"%d" % number) for number in range(1100)]
    blobs = git(place, "hash-object", "-w", "--stdin-paths", data=_written(place, lines)).split()
    index = "".join(f"{mode} {blob}\t{path}\n" for (mode, path, _), blob in zip(lines, blobs, strict=True))
    git(place, "update-index", "--add", "--index-info", data=index.encode())
    commit = git(place, "commit-tree", "-m", "x", git(place, "write-tree").strip()).strip()
    git(place, "update-ref", ATTESTATIONS_REF, commit)
    with pytest.raises(ResolveError, match="1100 attestations are left"):
        opened(place, None).of_change(CHANGE)
    assert opened(place, None).of_change(OTHER) == ()


def _written(place: Path, lines: list[tuple[str, str, bytes]]) -> bytes:
    folder = place / ".git" / "flood"
    folder.mkdir()
    names = []
    for number, (_, _, content) in enumerate(lines):
        (folder / str(number)).write_bytes(content)
        names.append(f".git/flood/{number}\n")
    return "".join(names).encode()


def test_a_place_that_somebody_took_is_told(remote: Path) -> None:
    place, envelope = clone(remote, "one"), signed(ALICE)
    pushed(place, ("100644", f"changes/ab/{'ab' * 32}/{payload_digest(envelope)[7:]}.json", b"garbage"))
    with pytest.raises(ResolveError, match="something else stands in the place"):
        post(opened(place), envelope)


def test_posting_the_same_again_is_no_trouble(remote: Path) -> None:
    place = opened(clone(remote, "one"))
    for _ in range(2):
        post(place, signed(ALICE))
    assert place.of_change(CHANGE) == (signed(ALICE),)


def test_a_ref_that_was_taken_back_at_the_remote_gets_everything_again(remote: Path) -> None:
    place = opened(clone(remote, "one"))
    post(place, signed(ALICE))
    git(remote, "update-ref", "-d", ATTESTATIONS_REF)
    assert opened(remote, None).of_change(CHANGE) == ()
    post(place, signed(BOB))
    assert set(opened(remote, None).of_change(CHANGE)) == {signed(ALICE), signed(BOB)}


@pytest.mark.parametrize("change", ["", "x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "../" + "a" * 64, "-" * 64])
def test_only_ids_are_asked_for(remote: Path, change: str) -> None:
    place = opened(clone(remote, "one"), None)
    with pytest.raises(ResolveError, match="is no scope digest"):
        place.of_change(change)
    with pytest.raises(ResolveError, match="is no scope digest"):
        place.post(change, "sha256:" + "0" * 64, b"x")


def test_what_is_too_large_or_badly_named_is_not_posted(remote: Path) -> None:
    place = opened(clone(remote, "one"), None)
    with pytest.raises(ResolveError, match="at most 65535"):
        place.post(CHANGE, "sha256:" + "0" * 64, b"x" * 65536)
    with pytest.raises(ResolveError, match="is no name for an attestation"):
        place.post(CHANGE, "sha256:../../x", b"x")


def test_a_commit_that_is_not_there_holds_nothing(remote: Path) -> None:
    assert Attestations.of_bare(remote, commit="1" * 40).of_change(CHANGE) == ()
