"""Which of a pull request's reviews say, as the forge knows it, that a person agrees to its head commit?

GitHub's `pull_request_review` event and its list of reviews (`GET /repos/{owner}/{repo}/pulls/{number}/reviews`) are
read field by field. Users are told apart by their number, never by a name they may change. The last word of a user
counts, and only what approves or refuses is a word: a comment takes nothing back. A review is of one commit; one of
anything but the head says nothing about the head. The author of the pull request and accounts of machines have no say.
Of two reports of one review the one that does not approve is believed.

Not here: who such a user is and how many of them may count (the trust root and `verify`), reading files, signing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError
from opsascode.policy._forms import COMMIT_FORM, shown
from opsascode.policy._guardrail import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.proof import Json

_SOURCE: Final = "github"
_APPROVED, _REFUSED, _DISMISSED = "APPROVED", "CHANGES_REQUESTED", "DISMISSED"
_NO_WORD: Final = frozenset({"COMMENTED", "PENDING"})
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_BRANCH: Final = re.compile(r"[^\x00-\x20\x7f]{1,200}")
_LOGIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(?:\[bot\])?")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
_MOST_REVIEWS: Final = 5000
_MOST_NUMBER: Final = 2**53 - 1


class BridgeError(ProofError):
    """What came from the forge is not what the forge sends."""

    code = "E_BRIDGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """The pull request an event is about: who opened it, what would be merged, and into which ref."""

    number: int
    author: int
    head: str
    base: str
    ref: str
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedReview:
    """A user's last word, an approval of the head commit."""

    user: int
    login: str
    review: int
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedReview:
    """A review that is no approval, and why; `refuses` tells that the user asks for changes to the head commit."""

    user: int | None
    login: str
    review: int
    commit: str
    reason: Reason
    refuses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Review:
    user: int | None
    login: str
    person: bool
    review: int
    commit: str
    state: str
    submitted: str


def pull_request_of(event: Json) -> PullRequest:
    """Read which pull request an event of GitHub is about.

    Raises:
        BridgeError: it is no such event.
    """
    top = _object(event, "the event")
    found = _object(top.get("pull_request"), "pull_request")
    base, head = _object(found.get("base"), "pull_request.base"), _object(found.get("head"), "pull_request.head")
    repository = _object(top.get("repository"), "repository")
    return PullRequest(
        number=_number(found.get("number"), "pull_request.number"),
        author=_number(_object(found.get("user"), "pull_request.user").get("id"), "pull_request.user.id"),
        head=_text(head.get("sha"), "pull_request.head.sha", COMMIT_FORM),
        base=_text(base.get("sha"), "pull_request.base.sha", COMMIT_FORM),
        ref="refs/heads/" + _text(base.get("ref"), "pull_request.base.ref", _BRANCH),
        repository=_text(repository.get("full_name"), "repository.full_name", _REPOSITORY),
    )


def reviews_of(event: Json, reviews: Sequence[Json] = ()) -> tuple[AcceptedReview | RejectedReview, ...]:
    """Judge the reviews of a pull request: that of the event, if it is about one, and those listed beside it.

    Raises:
        BridgeError: a part of it is not as GitHub writes it.
    """
    request = pull_request_of(event)
    listed = [(each, f"reviews[{index}]") for index, each in enumerate(reviews)]
    if len(listed) > _MOST_REVIEWS:
        raise BridgeError(f"{len(listed)} reviews of one pull request, where at most {_MOST_REVIEWS} are read")
    own = _object(event, "the event").get("review")
    if own is not None:
        listed.append((own, "review"))
    known: dict[int, _Review] = {}
    for each, where in listed:
        review = _read(each, where)
        before = known.get(review.review)
        known[review.review] = review if before is None else _less_approving(before, review)
    words = sorted(known.values(), key=lambda each: (each.submitted, each.review))
    last = {each.user: each.review for each in words if each.user is not None and each.state not in _NO_WORD}
    return tuple(_judged(each, request, last) for each in words)


def _judged(review: _Review, request: PullRequest, last: dict[int, int]) -> AcceptedReview | RejectedReview:
    reason = _fault(review, request, last)
    if reason is None and review.user is not None:
        return AcceptedReview(user=review.user, login=review.login, review=review.review, commit=review.commit)
    return RejectedReview(
        user=review.user,
        login=review.login,
        review=review.review,
        commit=review.commit,
        reason=reason or _reason("E_BRIDGE", "it is nobody's"),
        refuses=reason is not None and reason.code == "E_DECLINED" and review.state == _REFUSED,
    )


def _fault(review: _Review, request: PullRequest, last: dict[int, int]) -> Reason | None:  # noqa: PLR0911 - one return for each reason
    if review.user is None:
        return _reason("E_BRIDGE", "the account that gave it is gone")
    if not review.person:
        return _reason("E_BRIDGE", "it was given by a machine")
    if review.state in _NO_WORD:
        return _reason("E_BRIDGE", "it is a comment, or was not submitted")
    if review.user == request.author:
        return _reason("E_SELF_APPROVAL", "it was given by the author of the pull request")
    if last[review.user] != review.review:
        return _reason("E_STALE", "the same user said something else later")
    if review.commit != request.head:
        what = review.commit[:12] or "a commit that is gone"
        return _reason("E_STALE", f"it is of {what}, and the head is {request.head[:12]}")
    if review.state == _APPROVED:
        return None
    if review.state == _DISMISSED:
        return _reason("E_DECLINED", "it was dismissed")
    return _reason("E_DECLINED", f"it says {shown(review.state.lower().replace('_', ' '))}")


def _less_approving(one: _Review, other: _Review) -> _Review:
    """Choose between two reports of one review; an approval that was taken back elsewhere is none."""
    if one.user != other.user:
        raise BridgeError(f"review {one.review} is said to be of two users")
    return one if one.state != _APPROVED else other


def _read(found: Json, where: str) -> _Review:
    review = _object(found, where)
    user = review.get("user")
    about = {} if user is None else _object(user, f"{where}.user")
    commit, submitted = review.get("commit_id"), review.get("submitted_at")
    state = _text(review.get("state"), f"{where}.state", re.compile("[A-Za-z_]{1,40}")).upper()
    if state not in _NO_WORD and submitted is None:
        raise BridgeError(f"{where}.submitted_at is missing, so nobody can say which review came last")
    return _Review(
        user=None if user is None else _number(about.get("id"), f"{where}.user.id"),
        login="" if user is None else _text(about.get("login"), f"{where}.user.login", _LOGIN),
        person=about.get("type") == "User",
        review=_number(review.get("id"), f"{where}.id"),
        commit="" if commit is None else _text(commit, f"{where}.commit_id", COMMIT_FORM),
        state=state,
        submitted="" if submitted is None else _text(submitted, f"{where}.submitted_at", _MOMENT),
    )


def _object(found: Json, where: str) -> dict[str, Json]:
    if not isinstance(found, dict):
        raise BridgeError(f"{where} is no JSON object", advice=_ADVICE)
    return found


def _number(found: Json, where: str) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= _MOST_NUMBER:
        raise BridgeError(f"{where} is no number that GitHub gives", advice=_ADVICE)
    return found


def _text(found: Json, where: str, form: re.Pattern[str]) -> str:
    if not isinstance(found, str) or not form.fullmatch(found):
        raise BridgeError(f"{where} is not what GitHub writes there", advice=_ADVICE)
    return found


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message, source=_SOURCE)


_ADVICE: Final = "give the event as GitHub sent it ($GITHUB_EVENT_PATH), and its list of reviews"
