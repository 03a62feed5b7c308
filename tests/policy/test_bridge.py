"""Reviews of GitHub as it sends them, and as somebody might who wants one to count that does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.policy import AcceptedReview, BridgeError, RejectedReview, pull_request_of, reviews_of

RECORDED = Path(__file__).parent / "github_events"
HEAD = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
ALICE, BOB, CAROL = 1001, 1002, 1003


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_bytes())


def accepted(event: Any, reviews: Any = ()) -> list[int]:
    return sorted(each.user for each in reviews_of(event, reviews) if isinstance(each, AcceptedReview))


def why(event: Any, reviews: Any = ()) -> dict[int, str]:
    found = [each for each in reviews_of(event, reviews) if isinstance(each, RejectedReview)]
    return {each.review: f"{each.reason.code} {each.reason.message}" for each in found}


def without_event_review() -> Any:
    event = recorded("submitted.approved")
    del event["review"]
    return event


def listed(*said: tuple[int, str, str], **changes: Any) -> list[Any]:
    """Reviews of bob in this order, by number, state and minute."""
    pattern = recorded("reviews.list")[1]
    return [
        {**pattern, "id": number, "state": state, "submitted_at": f"2026-11-21T10:{minute}:00Z", **changes}
        for number, state, minute in said
    ]


def test_the_approval_of_an_event_counts() -> None:
    (found,) = reviews_of(recorded("submitted.approved"))
    assert found == AcceptedReview(user=BOB, login="bob-x", review=50002, commit=HEAD)


@pytest.mark.parametrize(
    ("name", "reason", "refuses"),
    [
        ("submitted.changes_requested", "E_DECLINED it says changes requested", True),
        ("dismissed", "E_DECLINED it was dismissed", False),
        ("submitted.commented", "E_BRIDGE it is a comment, or was not submitted", False),
    ],
)
def test_any_other_event_is_no_approval(name: str, reason: str, refuses: bool) -> None:
    (found,) = reviews_of(recorded(name))
    assert isinstance(found, RejectedReview)
    assert (f"{found.reason.code} {found.reason.message}", found.refuses) == (reason, refuses)


def test_the_list_beside_the_event_counts_too() -> None:
    event, reviews = recorded("submitted.approved"), recorded("reviews.list")
    assert accepted(event, reviews) == [BOB, CAROL]
    assert accepted(without_event_review(), reviews) == [BOB, CAROL]
    assert why(event, reviews) == {
        50001: "E_BRIDGE it is a comment, or was not submitted",
        50003: "E_BRIDGE it was given by a machine",
        50005: "E_BRIDGE it is a comment, or was not submitted",
    }


def test_the_pull_request_is_read() -> None:
    found = pull_request_of(recorded("submitted.approved"))
    assert (found.number, found.author, found.head, found.ref) == (7, ALICE, HEAD, "refs/heads/main")
    assert found.repository == "octo-ops/ops"


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ([(1, "APPROVED", "01")], True),
        ([(1, "approved", "01")], True),
        ([(1, "CHANGES_REQUESTED", "01"), (2, "APPROVED", "02")], True),
        ([(1, "APPROVED", "01"), (2, "CHANGES_REQUESTED", "02")], False),
        ([(2, "CHANGES_REQUESTED", "02"), (1, "APPROVED", "01")], False),
        ([(1, "APPROVED", "01"), (2, "COMMENTED", "02")], True),
        ([(1, "APPROVED", "01"), (2, "DISMISSED", "02")], False),
        ([(1, "DISMISSED", "01"), (2, "APPROVED", "02")], True),
        ([(1, "DISMISSED", "01")], False),
        ([(1, "PENDING", "01")], False),
        ([(1, "APPROVED", "01"), (2, "SOMETHING_NEW", "02")], False),
        ([(2, "APPROVED", "01"), (1, "CHANGES_REQUESTED", "02")], False),
        ([(1, "APPROVED", "01"), (1, "DISMISSED", "01")], False),
        ([(1, "DISMISSED", "01"), (1, "APPROVED", "01")], False),
    ],
)
def test_the_last_word_of_a_user_counts(said: list[tuple[int, str, str]], counts: bool) -> None:
    assert accepted(without_event_review(), listed(*said)) == ([BOB] if counts else [])


def test_a_dismissal_in_the_event_is_believed_before_an_older_list() -> None:
    assert accepted(recorded("dismissed"), recorded("reviews.list")) == [CAROL]
    event, reviews = recorded("submitted.approved"), recorded("reviews.list")
    reviews[1]["state"] = "DISMISSED"
    assert accepted(event, reviews) == [CAROL]


@pytest.mark.parametrize("commit", ["0" * 40, None])
def test_a_review_of_another_commit_says_nothing_about_the_head(commit: str | None) -> None:
    reviews = listed((1, "APPROVED", "01"), commit_id=commit)
    assert accepted(without_event_review(), reviews) == []
    assert why(without_event_review(), reviews)[1].startswith("E_STALE it is of ")


def test_a_push_after_the_approval_takes_it_away() -> None:
    event = recorded("submitted.approved")
    event["pull_request"]["head"]["sha"] = "1" * 40
    assert accepted(event, recorded("reviews.list")) == []


def test_users_are_their_numbers_and_never_their_names() -> None:
    event = without_event_review()
    own = listed((1, "APPROVED", "01"))
    own[0]["user"] = {**own[0]["user"], "login": "somebody-else", "id": ALICE}
    assert why(event, own) == {1: "E_SELF_APPROVAL it was given by the author of the pull request"}
    renamed = listed((1, "APPROVED", "01"), (2, "CHANGES_REQUESTED", "02"))
    renamed[1]["user"] = {**renamed[1]["user"], "login": "new-name"}
    assert accepted(event, renamed) == []


@pytest.mark.parametrize("kind", ["Bot", "Organization", "Mannequin", "user", "", None])
def test_only_persons_count(kind: str | None) -> None:
    reviews = listed((1, "APPROVED", "01"))
    reviews[0]["user"] = {**reviews[0]["user"], "type": kind}
    assert accepted(without_event_review(), reviews) == []


def test_an_account_that_is_gone_does_not_count() -> None:
    reviews = listed((1, "APPROVED", "01"), user=None)
    assert why(without_event_review(), reviews) == {1: "E_BRIDGE the account that gave it is gone"}


def set_at(value: Any, path: str, new: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    *above, last = path.split(".")
    for key in above:
        place = place[key]
    if new is ...:
        del place[last]
    else:
        place[last] = new
    return changed


HOSTILE = {
    "review.id": (1.0, "1", True, 0, -1, None, ..., 2**53, [1]),
    "review.user.id": (1002.0, "1002", False, 0, -1, None, ..., 2**70, {}),
    "review.user.login": (7, "", "a b", "x" * 70, "bob\u202ex", None, ...),
    "review.user": ("bob-x", [], 1002),
    "review.state": (None, ..., 1, "", "APPROVED ", "x" * 50, ["APPROVED"]),
    "review.commit_id": (1, "main", HEAD.upper(), HEAD[:12], HEAD + "\n", ""),
    "review.submitted_at": (None, ..., 1, "yesterday", "2026-11-21T10:00:38+02:00", "2026-11-21T10:00:38Z\n"),
    "review": ("approved", 1, [], True),
    "pull_request": (None, ..., [], "x"),
    "pull_request.number": (None, ..., "7", 7.0, True),
    "pull_request.user": (None, ..., "alice-x"),
    "pull_request.user.id": ("1001", 1001.0, None, ...),
    "pull_request.head": (None, ..., HEAD),
    "pull_request.head.sha": (None, ..., "HEAD", HEAD + " ", HEAD[:39]),
    "pull_request.base.sha": (None, ..., "main"),
    "pull_request.base.ref": (None, ..., "", "a b", "a\nb", 1),
    "repository": (None, ..., "octo-ops/ops"),
    "repository.full_name": (None, ..., "ops", "a/b/c", "a /b"),
}


@pytest.mark.parametrize(("path", "value"), [(path, each) for path, values in HOSTILE.items() for each in values])
def test_what_github_does_not_send_is_one_clear_error(path: str, value: Any) -> None:
    event = recorded("submitted.approved")
    assert accepted(event) == [BOB]
    with pytest.raises(BridgeError) as error:
        reviews_of(set_at(event, path, value))
    assert error.value.code == "E_BRIDGE"
    assert path.partition(".")[0] in error.value.message


@pytest.mark.parametrize("event", [None, [], "x", 1, True, {}])
def test_an_event_that_is_none_is_an_error(event: Any) -> None:
    with pytest.raises(BridgeError):
        reviews_of(event)


def test_one_review_cannot_be_of_two_users() -> None:
    reviews = recorded("reviews.list")
    reviews[0]["id"] = reviews[1]["id"]
    with pytest.raises(BridgeError, match="said to be of two users"):
        reviews_of(without_event_review(), reviews)


def test_far_too_many_reviews_are_not_read() -> None:
    with pytest.raises(BridgeError, match="at most 5000"):
        reviews_of(without_event_review(), recorded("reviews.list") * 1001)


def nested(depth: int) -> st.SearchStrategy[Any]:
    """Any JSON of at most so many levels."""
    plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    if not depth:
        return plain
    inner = nested(depth - 1)
    return plain | st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)


json_values = nested(2)


@given(st.sampled_from([*HOSTILE, "review.body", "action", "sender", "review.user.type"]), json_values)
def test_whatever_stands_somewhere_it_is_judged_or_refused(path: str, value: Any) -> None:
    event = set_at(recorded("submitted.approved"), path, value)
    try:
        found = reviews_of(event)
    except BridgeError:
        return
    users = [each.user for each in found if isinstance(each, AcceptedReview)]
    assert users in ([], [event["review"]["user"]["id"]] if users else [])
