"""How is a plan judged from a command line, and what is left of it where it is refused?

Who starts it is the account of this process: its roles are those of the people behind it in the trust root that is
believed here, none without one. A refused run is recorded in the ledger, so that later guardrails can be tried on it;
plans and predictions are not.

Not here: judging as such (`policy`), how an answer looks (`_verdict`).
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._execute import account, actor
from opsascode.cli._verdict import refusal_json, refusal_lines
from opsascode.errors import ExitCode, OpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsascode.cli._context import Face
    from opsascode.policy import Permit, Refusal, Subject
    from opsascode.run import AskedApproval, Purpose, Resolution, Rules, Starter


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was decided about a plan, by which rules, over which facts, and when."""

    verdict: Permit | Refusal
    rules: Rules
    subject: Subject
    at: datetime


def judged(
    face: Face, resolution: Resolution, rules: Rules | None = None, *, purpose: Purpose | None = None
) -> Permit | Refusal:
    """Judge a plan by what is enforced here, or by rules that will be; without a purpose it does what was planned."""
    return judgement(face, resolution, rules, purpose=purpose).verdict


def judgement(
    face: Face, resolution: Resolution, rules: Rules | None = None, *, purpose: Purpose | None = None
) -> Judgement:
    """Judge a plan as `judged` does, and give what it was judged by."""
    from opsascode.policy import Refusal, judge  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import subject_of  # noqa: PLC0415 - keeps --help quick

    rules = rules or face.rules_for(resolution.plan.hosts)
    subject = subject_of(resolution, _starter(face, rules, purpose))
    now = datetime.now(UTC)
    verdict = judge(rules.policies, subject, now=now)
    against = [*rules.unapplied(resolution.plan, face.repository.root)]
    if resolution.plan.trust is not None and (stale := face.staleness()) is not None:
        against.append(stale)
    if against:
        others = verdict.reasons if isinstance(verdict, Refusal) else ()
        verdict = Refusal(plan_digest=subject.plan_digest, reasons=(*against, *others), subject=subject)
    return Judgement(verdict=verdict, rules=rules, subject=subject, at=now)


def approvals_for(face: Face) -> Callable[[Rules | None, Subject], Sequence[AskedApproval]]:
    """Give what says which approvals guardrails ask of a plan that is being made here."""

    def asked(rules: Rules | None, subject: Subject) -> Sequence[AskedApproval]:
        from opsascode.policy import prepare  # noqa: PLC0415 - keeps --help quick
        from opsascode.run import AskedApproval  # noqa: PLC0415 - keeps --help quick

        if rules is None:
            return ()
        starting = _starter(face, rules, None).starts(subject)
        needs = prepare(rules.policies).needs(starting, datetime.now(UTC))
        found = [
            AskedApproval(
                required=need.asked.required, role=need.asked.role, by=need.source, reason=escape_line(need.reason)
            )
            for need in needs
        ]
        return tuple(dict.fromkeys(found))

    return asked


def tell_refusal(
    face: Face, refusal: Refusal, resolution: Resolution | None = None, *, purpose: Purpose | None = None
) -> int:
    """Show why guardrails refuse a run, and record it where its resolution is given and it would have acted."""
    recorded, trouble = _record(face, refusal, resolution, purpose) if resolution else (None, "")
    if face.json:
        body = {"event": "refused", **refusal_json(refusal)}
        more = {"recorded": recorded} if recorded is not None else {"trouble": trouble} if trouble else {}
        click.echo(json.dumps({**body, **more}))
        return ExitCode.REFUSED
    lines = [*refusal_lines(refusal)]
    lines += [f"  recorded as ledger entry {recorded}"] if recorded is not None else []
    lines += [f"  this refusal is not recorded: {escape_line(trouble)}"] if trouble else []
    click.echo("\n".join(lines), err=True)
    return ExitCode.REFUSED


def _record(face: Face, refusal: Refusal, resolution: Resolution, purpose: Purpose | None) -> tuple[int | None, str]:
    """Record a refusal; gives the entry, or what kept it from being written, which changes nothing about the answer."""
    from opsascode.proof import seal  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Purpose, Refused, refused_statement  # noqa: PLC0415 - keeps --help quick

    if purpose is Purpose.CHECK:
        return None, ""
    now = datetime.now(UTC)
    try:
        face.state.ensure_writable()
        signer = face.state.signer(os.environ)
        ledger = face.state.ledger(signer)
        refused = Refused(
            id=f"refused-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
            ledger=ledger.origin,
            purpose=purpose or Purpose.RUN,
            pack=_pack(resolution),
        )
        statement = refused_statement(resolution.plan, refusal, refused, actor=actor(), now=now)
        return ledger.append(seal(statement, signer)).index, ""
    except (OpsError, OSError) as error:
        return None, str(error)


def _pack(resolution: Resolution) -> str | None:
    """Give the digest of the applied pack that the plan pins; None where the work tree's policies hold."""
    from opsascode.run import APPLIED_PACK  # noqa: PLC0415 - keeps --help quick

    return next((pin.digest for pin in resolution.plan.pins if pin.path == APPLIED_PACK), None)


def _starter(face: Face, rules: Rules, purpose: Purpose | None) -> Starter:
    from opsascode.run import Purpose, Starter, detect_trigger  # noqa: PLC0415 - keeps --help quick

    starter = Starter(
        trigger=detect_trigger(os.environ),
        account=account(),
        roles=_roles(face, rules),
        predicts=purpose is Purpose.CHECK,
        undoes=purpose is Purpose.UNDO,
    )
    # An undo is not held up by budgets, so Prometheus is not asked for them.
    return starter if starter.undoes else replace(starter, budgets=face.budgets.of(rules.policies))


def _roles(face: Face, rules: Rules) -> frozenset[str]:
    """Give the roles of everybody behind this account, as the trust root says that holds for runs.

    Where no rule asks for them, they are only recorded: then the root of the applied pack, which is at hand, is enough.
    """
    from opsascode.policy import roles_asked  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import people_of  # noqa: PLC0415 - keeps --help quick

    if face.policies.pin is None:
        return frozenset()
    if roles_asked(rules.policies):
        people = face.people()
    elif rules.root is not None:
        people = people_of(rules.root.root, rules.root.digest)
    else:
        return frozenset()
    return frozenset(role for person in people.behind(account()) for role in person.roles)
