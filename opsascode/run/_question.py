"""How is a question put to people in the middle of a run, and when does their answer count?

The request is written into the run's directory, where `opsascode approve` finds it; the desk waits for an answer. An
approval counts only when `policy.judge_approvals` says so here, whatever the desk believes. The answer is sealed in the
ledger before anything follows from it.

Not here: how people are asked (`cli`), what follows from a yes or a no (`_conduct`).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.errors import OpsError
from opsascode.policy import judge_approvals
from opsascode.proof import seal
from opsascode.repo import People, people_of
from opsascode.run._asks import (
    AskKind,
    AskRequest,
    Unanswered,
    add_approval,
    aliases_of,
    kept_approvals,
    need_of,
    write_request,
)
from opsascode.run._record import RUN_ASK, AskRecord, Phase, ask_statement
from opsascode.run._site import repository_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.policy import ApprovalVerdict
    from opsascode.proof import LedgerReader
    from opsascode.run._asks import Answered, Ask
    from opsascode.run._site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of a question: a yes, a no with its reason, or what is still missing."""

    granted: bool = False
    declined: bool = False
    reason: str = ""
    missing: str = ""


def put_question(site: Site, ask: Ask) -> Reply:
    """Ask people, wait for them as long as the desk does, and seal what they said.

    Raises:
        LedgerError: the answer could not be recorded; nothing follows from it.
    """
    about = site.order.circumstances
    request = AskRequest(
        run=site.run,
        plan_digest=site.order.resolution.plan.digest,
        ask=ask,
        requester=about.actor.user,
        aliases=tuple(aliases_of(about.actor)),
        asked=about.clock(),
        repository=repository_name(site.order.repository),
    )
    write_request(site.directory, request, site.order.resolution.plan.content)
    site.trail.ask(ask.stage)
    for envelope in (*about.manner.approvals, *site.earlier_approvals):
        add_approval(site.directory, envelope)
    judging = _Judging(site, request)
    if ask.kind is AskKind.APPROVAL and judging.unusable:
        return _unanswered(site, judging.unusable)
    answer = site.desk.ask(request, judge=judging, cancel=lambda: site.unwanted(Phase.FORWARD))
    if isinstance(answer, Unanswered):
        return _unanswered(site, answer.missing)
    if ask.kind is AskKind.MANUAL:
        return _seal(site, ask, answer, by=answer.by)
    judging.look_again()
    if judging.unusable:
        return Reply(missing=judging.unusable)
    verdict = judging((*kept_approvals(site.directory), *answer.approvals))
    if not (verdict.satisfied or verdict.declined):
        return Reply(missing=verdict.missing)
    counted = verdict.declined or verdict.counted
    for each in counted:
        add_approval(site.directory, each.envelope)
        site.approvals[f"{each.digest.removeprefix('sha256:')}.json"] = each.envelope
    by = tuple(each.person for each in counted)
    return _seal(site, ask, answer, by=by, granted=verdict.satisfied, digests=tuple(each.digest for each in counted))


def _unanswered(site: Site, missing: str) -> Reply:
    """Say what is missing, unless somebody wants the run to stop."""
    canceled = site.unwanted(Phase.FORWARD)
    return Reply(reason=site.pulse.canceled_by or "it was canceled") if canceled else Reply(missing=missing)


def _seal(
    site: Site,
    ask: Ask,
    answer: Answered,
    *,
    by: tuple[str, ...],
    granted: bool | None = None,
    digests: tuple[str, ...] = (),
) -> Reply:
    """Record an answer, durably."""
    yes = answer.granted if granted is None else granted
    record = AskRecord(
        stage=ask.stage,
        kind=ask.kind.value,
        step=ask.step,
        granted=yes,
        by=by,
        approvals=digests,
        note=answer.note,
        at=site.order.circumstances.clock(),
    )
    entry = site.ledger.append(seal(ask_statement(site.subject, record), site.signer)).index
    site.trail.answer(record, entry)
    site.answers.append(record)
    site.entries.append(entry)
    if yes:
        return Reply(granted=True)
    said = f": {answer.note}" if answer.note else ""
    return Reply(declined=True, reason=f"declined by {', '.join(by) or 'nobody in particular'}{said}")


class _Judging:
    """Judges approvals for one request, as often as the desk asks, by the trust root that the plan was made with.

    `unusable` says why that one does not count any more: a newer version may have taken somebody's key from them.
    """

    def __init__(self, site: Site, request: AskRequest) -> None:
        self._site = site
        self._people, self.unusable = People(), ""
        self._need = need_of(request, earlier_runs=site.earlier_runs)
        self.look_again()

    def look_again(self) -> None:
        """Find out which approvals other runs have been let through by since, and which trust root counts now."""
        self._used = _used_elsewhere(self._site.ledger, {self._site.run, *self._site.earlier_runs})
        self._look_at_root()

    def _look_at_root(self) -> None:
        resolution = self._site.order.resolution
        planned = resolution.plan.trust
        if planned is None or resolution.trusted is None:
            self.unusable = "a trust root, which says who may approve"
            return
        try:
            newest = resolution.trusted().current
        except OpsError as error:
            self.unusable = f"a trust root that can be believed: {error.message}"
            return
        self._people = people_of(newest.root, newest.digest)
        self.unusable = ""
        if newest.digest != planned.digest:
            self.unusable = (
                f"the trust root it was planned with, version {planned.version}; now version {newest.root.version} "
                "counts: cancel the run, and start it again"
            )

    def __call__(self, envelopes: Sequence[bytes]) -> ApprovalVerdict:
        now = self._site.order.circumstances.clock()
        return judge_approvals(self._need, envelopes, self._people, now, used=self._used)


def _used_elsewhere(ledger: LedgerReader, own: set[str]) -> frozenset[str]:
    """Give the digests of the approvals that other runs were let through by."""
    return frozenset(digest for run, digest in _used(ledger) if run not in own)


def _used(ledger: LedgerReader) -> Iterator[tuple[str, str]]:
    """Give run and digest of each approval that let a run pass; the entries were verified when they were appended."""
    for envelope in ledger.entries():
        statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        if statement["predicateType"] == RUN_ASK:
            predicate = statement["predicate"]
            yield from ((str(predicate["run"]), str(digest)) for digest in predicate["approvals"])
