"""`opsascode policy bridge`: what GitHub knows of reviews, signed by a machine so that it can count as approvals.

The change is computed here from Git's objects: what a merge of the head into the base would make. The reviews are of
that head. How many of the people who agree may come over a bridge is the trust root's to say, and the key must be that
of a machine it calls a bridge. A review that was dismissed after it was signed here is signed once more, as a refusal.

Not here: which reviews are approvals (`policy`), and whether they are enough.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line
from opsascode.cli._files import write_into
from opsascode.cli._options import format_option, root_option
from opsascode.cli._policy_desk import PolicyDesk
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.policy import AcceptedReview, Change, ForgeReview, PullRequest, RejectedReview, ReviewState
    from opsascode.proof import Json, Signer, TrustRoot

_FORGE: Final = "github"
_MOST_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bridge:
    """One machine that signs what it was told of one pull request and one change."""

    request: PullRequest
    change: Change
    root: TrustRoot
    signer: Signer
    now: datetime
    lifetime: timedelta
    there: tuple[ForgeReview, ...]

    def signs(self, review: AcceptedReview | RejectedReview) -> ReviewState | None:
        """Tell what is to be signed of a review; None for nothing, or nothing new."""
        from opsascode.policy import AcceptedReview, ReviewState  # noqa: PLC0415 - keeps --help quick

        before = [each for each in self.there if (each.user, each.review) == (review.user, review.review)]
        if self.person(review) is None:
            return None
        if isinstance(review, AcceptedReview):
            wanted = ReviewState.APPROVED
        elif review.refuses or any(each.state is ReviewState.APPROVED for each in before):
            wanted = ReviewState.CHANGES_REQUESTED
        else:
            return None
        last = max(before, key=lambda each: each.expires, default=None)
        half = self.now + self.lifetime / 2
        return None if last is not None and last.state is wanted and last.expires > half else wanted

    def person(self, review: AcceptedReview | RejectedReview) -> str | None:
        """Name the person the trust root knows by this user's number."""
        found = self.root.at_forge(_FORGE, review.user) if review.user is not None else None
        return found.id if found else None

    def sign(self, review: AcceptedReview | RejectedReview, state: ReviewState) -> bytes:
        """Sign one review."""
        from opsascode.policy import ForgeReview  # noqa: PLC0415 - keeps --help quick
        from opsascode.proof import seal  # noqa: PLC0415 - keeps --help quick

        said = ForgeReview(
            change=self.change,
            forge=_FORGE,
            user=review.user or 0,
            login=review.login,
            review=review.review,
            commit=self.request.head,
            state=state,
            repository=self.request.repository,
            ref=self.change.ref,
            issued=self.now,
            expires=self.now + self.lifetime,
        )
        return seal(said.statement(), self.signer)


@click.command()
@click.option("--event", "event_file", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="The event as GitHub sent it: $GITHUB_EVENT_PATH.")  # fmt: skip
@click.option("--reviews", "review_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Its list of reviews, all pages: gh api --paginate repos/OWNER/REPO/pulls/N/reviews.")  # fmt: skip
@click.option("--key", "key", required=True, metavar="file:PATH|env:NAME", help="The key of the bridge.")
@click.option("--base", metavar="COMMIT", help="What it would be merged into [default: the base of the event].")
@click.option("--head", metavar="COMMIT", help="What was reviewed; it must be the head of the event.")
@click.option("--change", "expected", metavar="ID", help="Sign only if the change is this one.")
@root_option
@click.option("--hours", type=click.IntRange(1, 72), default=24, show_default=True, help="How long a review counts.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write the statements there, and leave nothing in Git.")  # fmt: skip
@format_option
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter for each option
    face: Face,
    *,
    event_file: Path,
    review_files: Sequence[Path],
    key: str,
    base: str | None,
    head: str | None,
    expected: str | None,
    pin: str | None,
    hours: int,
    out: Path | None,
) -> int:
    """Turn reviews of a pull request at GitHub into signed statements about the change it would make."""
    from opsascode.policy import pull_request_of, reviews_of  # noqa: PLC0415 - keeps --help quick

    event = _read(event_file)
    request, reviews = pull_request_of(event), reviews_of(event, _listed(review_files))
    desk = PolicyDesk(face=face, root_digest=pin)
    change = _change(desk, request, base=base, head=head)
    if expected is not None and expected != change.id:
        raise _refused(f"the change is {change.id}, not {expected[:80]}", "look at it again: opsascode policy verify")
    bridge = _bridge(desk, request, change, key, timedelta(hours=hours))
    told = [(each, bridge.signs(each)) for each in reviews]
    envelopes = [bridge.sign(each, state) for each, state in told if state is not None]
    for envelope in envelopes:
        _leave(desk, change, envelope, out)
    _tell(face, bridge, told)
    return ExitCode.DONE


def _change(desk: PolicyDesk, request: PullRequest, *, base: str | None, head: str | None) -> Change:
    """Compute the change that the pull request would make, which nobody else may say.

    Raises:
        ProofError: what would be judged is not what was reviewed.
        UsageError: a commit is not in this clone.
    """
    from opsascode.cli._change import look_at  # noqa: PLC0415 - keeps --help quick

    if head is not None and desk.store.commit_of(head) != request.head:
        raise _refused(
            f"{head[:80]} is not the head of the event, {request.head[:12]}", "give the head that was reviewed"
        )
    onto = desk.commit(base or request.base, advice="fetch-depth: 0")
    change = look_at(desk, request.head, base=onto).decision.change
    if change.ref != request.ref:
        raise _refused(f"the pull request goes to {request.ref}, and {change.ref} is the protected ref", "")
    return change


def _bridge(desk: PolicyDesk, request: PullRequest, change: Change, key: str, lifetime: timedelta) -> _Bridge:
    from opsascode.proof import MachineRole, load_signer  # noqa: PLC0415 - keeps --help quick

    root = desk.judge(remembers=False).chain(change.base_commit or request.base).current.root
    signer = load_signer(key, base=Path(), environ=os.environ)
    if signer.public_key not in root.machine_keys(MachineRole.BRIDGE):
        raise _refused(
            f"{signer.public_key.keyid} is not the key of a machine that the trust root calls a bridge",
            "opsascode trust propose --machine NAME=KEYFILE:bridge",
        )
    return _Bridge(
        request=request,
        change=change,
        root=root,
        signer=signer,
        now=datetime.now(UTC).replace(microsecond=0),
        lifetime=lifetime,
        there=tuple(_signed_before(desk, change, signer)),
    )


def _signed_before(desk: PolicyDesk, change: Change, signer: Signer) -> Iterator[ForgeReview]:
    """Read what this bridge signed about the change already."""
    from opsascode.errors import ProofError  # noqa: PLC0415 - keeps --help quick
    from opsascode.policy import FORGE_REVIEW, ForgeReview  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import open_envelope  # noqa: PLC0415 - keeps --help quick

    for envelope in desk.attestations.of_change(change.target_scope) if desk.attestations else ():
        try:
            record = open_envelope(envelope, (signer.public_key,), predicate_types=(FORGE_REVIEW,))
            said = ForgeReview.of(record.statement)
        except ProofError:
            continue  # somebody else's, whatever it is
        if said.change.id == change.id:
            yield said


def _leave(desk: PolicyDesk, change: Change, envelope: bytes, out: Path | None) -> None:
    from opsascode.proof import payload_digest  # noqa: PLC0415 - keeps --help quick

    digest = payload_digest(envelope)
    if out is not None:
        write_into(out, f"{digest.removeprefix('sha256:')}.json", envelope, "the statement")
    elif desk.attestations is None:
        raise UsageError("there is no Git repository to leave it in", advice="--out DIR")
    else:
        desk.attestations.post(change.target_scope, digest, envelope)


def _tell(
    face: Face, bridge: _Bridge, told: Sequence[tuple[AcceptedReview | RejectedReview, ReviewState | None]]
) -> None:
    if face.json:
        reviews = [_review_json(bridge, review, state) for review, state in told]
        click.echo(json.dumps({"change_id": bridge.change.id, "head": bridge.request.head, "reviews": reviews}))
        return
    click.echo(f"change {bridge.change.id}")
    for review, state in told:
        who = bridge.person(review) or "nobody in the trust root"
        reason = getattr(review, "reason", None)
        said = f"does not count: {reason.message} [{reason.code}]" if reason else "approves"
        signed = f"; signed as {state.value}" if state else ""
        click.echo(escape_line(f"  review {review.review} of {review.login or '(gone)'} ({who}) {said}{signed}"))
    if not told:
        click.echo("  there is no review")


def _review_json(
    bridge: _Bridge, review: AcceptedReview | RejectedReview, state: ReviewState | None
) -> dict[str, Json]:
    reason = getattr(review, "reason", None)
    return {
        "review": review.review,
        "user": review.user,
        "login": review.login,
        "person": bridge.person(review),
        "accepted": reason is None,
        "code": reason.code if reason else None,
        "message": reason.message if reason else None,
        "signed": state.value if state else None,
    }


def _listed(files: Sequence[Path]) -> list[Json]:
    """Read lists of reviews; a page may lie in a list of pages."""
    found: list[Json] = []
    for file in files:
        page = _read(file)
        if not isinstance(page, list):
            raise _refused(f"{file} is no list of reviews", "gh api --paginate repos/OWNER/REPO/pulls/N/reviews")
        for each in page:
            found += each if isinstance(each, list) else [each]
    return found


def _read(file: Path) -> Json:
    from opsascode.errors import ProofError  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import parse_strict  # noqa: PLC0415 - keeps --help quick

    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    try:
        return parse_strict(data, max_bytes=_MOST_BYTES)
    except ProofError as error:
        raise _refused(f"{file} is not what GitHub sends: {error.message}", "") from error


def _refused(message: str, advice: str) -> Exception:
    from opsascode.policy import BridgeError  # noqa: PLC0415 - keeps --help quick

    return BridgeError(message, advice=advice)
