"""How is it found out how a change did: what is asked of Prometheus, and what are earlier scores?

Not here: scoring (`policy`), how it is shown (`_gate_text`).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._files import append_report
from opsascode.cli._github import show
from opsascode.errors import ExitCode, UsageError
from opsascode.proof import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.cli._gate_desk import GateDesk
    from opsascode.cli._slo_gate import GateWords
    from opsascode.policy import CriterionValue, ScoreCard
    from opsascode.proof import Json
    from opsascode.repo import ReliabilityPolicy, Scoring
    from opsascode.slo import PrometheusClient

_WINDOW: Final = "$window"
"""What a query writes for the time that is looked at: replaced by a duration such as 600s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The time that is looked at; `short` says how much of the window had not passed yet."""

    end: datetime
    length: timedelta
    short: timedelta = timedelta()

    @classmethod
    def of(cls, window: timedelta, since: datetime | None, now: datetime) -> _Span:
        if since is None:
            return cls(end=now, length=window)
        end = min(since + window, now)
        return cls(end=end, length=end - since, short=since + window - end)


def score_change(desk: GateDesk, words: GateWords, now: datetime) -> int:
    """Score a change by every policy of its service that says how, and record it.

    Raises:
        UsageError: no policy of the service says how.
    """
    from opsascode.policy import policies_asked  # noqa: PLC0415 - keeps --help quick

    service = words["service"]
    asked = [each for each in policies_asked(desk.slo.policies, service) if each.gate.scoring is not None]
    if not asked:
        raise UsageError(f"no policy of {service} says how a change is scored", advice="write gate.scoring in it")
    since, at = _moments(words, now)
    desk.take_in()
    cards = tuple(_card(desk, each, service, since, at) for each in asked)
    verdict = _worst(cards)
    about: dict[str, Json] = {
        "service": service,
        "change_class": words["change_class"],
        "change": words["change"],
        "verdict": verdict,
        "since": None if since is None else stamp(since),
        "asked": stamp(at),
    }
    name, entry = f"gate-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}", None
    if words["record"]:
        entry = desk.book().record_scores(cards, about, desk.circumstances(name, now), desk.signer())
        desk.share()
    _tell(desk, words, cards, {**about, "id": name, "entry": entry})
    return ExitCode.REFUSED if verdict == "fail" or (verdict == "warn" and words["strict"]) else ExitCode.DONE


def _moments(words: GateWords, now: datetime) -> tuple[datetime | None, datetime]:
    """Give since when, and until when at most, is looked at."""
    from opsascode.cli._slo_desk import read_moment  # noqa: PLC0415 - keeps --help quick

    at, since = (read_moment(words["at"], now) or now).replace(microsecond=0), None
    if words["since"] is not None:
        from opsascode.slo import moment_of  # noqa: PLC0415 - keeps --help quick

        since = moment_of(words["since"])
        if since >= at:
            raise UsageError(f"--since {words['since']} is not before {stamp(at)}, the moment that is asked about")
    return since, at


def _card(desk: GateDesk, policy: ReliabilityPolicy, service: str, since: datetime | None, at: datetime) -> ScoreCard:
    from opsascode.policy import score  # noqa: PLC0415 - keeps --help quick

    scoring, name = policy.gate.scoring, policy.metadata.name
    if scoring is None:
        raise UsageError(f"the policy {name} does not say how a change is scored")
    span = _Span.of(scoring.window, since, at)
    if span.short:
        left = f"{int(span.short.total_seconds())}s of {int(scoring.window.total_seconds())}s"
        click.echo(f"{name}: {left} have not passed yet; what there is, is scored", err=True)
    return score(name, scoring, _values(desk, scoring, span), desk.book().passing_scores(service, name))


def _values(desk: GateDesk, scoring: Scoring, span: _Span) -> Mapping[str, CriterionValue]:
    """Ask Prometheus for every criterion; one that gets no answer has no value, and says why."""
    from opsascode.policy import CriterionValue  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import PrometheusError  # noqa: PLC0415 - keeps --help quick

    try:
        client = desk.slo.client()
    except PrometheusError as error:
        nothing = CriterionValue(value=None, why=error.message)
        return {each.name: nothing for each in scoring.criteria}
    return {each.name: _value(client, each.query, span) for each in scoring.criteria}


def _value(client: PrometheusClient, query: str, span: _Span) -> CriterionValue:
    from opsascode.policy import CriterionValue  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import PrometheusError, ask_value  # noqa: PLC0415 - keeps --help quick

    seconds = f"{max(int(span.length.total_seconds()), 1)}s"
    try:
        found = ask_value(client, query.replace(_WINDOW, seconds), span.end)
    except PrometheusError as error:
        return CriterionValue(value=None, why=error.message)
    return CriterionValue(value=found, why="" if found is not None else "no data, or no number")


def _worst(cards: tuple[ScoreCard, ...]) -> str:
    order = ("pass", "warn", "fail")
    return max((each.verdict.value for each in cards), key=order.index)


def _tell(desk: GateDesk, words: GateWords, cards: tuple[ScoreCard, ...], about: Mapping[str, Json]) -> None:
    from opsascode.cli._gate_text import score_annotations, score_lines, score_markdown  # noqa: PLC0415 - keeps --help quick

    if desk.face.json:
        shown = json.dumps({**about, "cards": [each.to_json() for each in cards]})
    else:
        recorded = [] if about["entry"] is None else [f"recorded as ledger entry {about['entry']}, {about['id']}"]
        shown = "\n".join((*score_lines(cards), *recorded))
    show(shown, score_annotations(words["service"], cards), github=words["github"])
    append_report(words["summary"], score_markdown(words["service"], cards))
