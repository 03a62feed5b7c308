"""How did a stage end?

A pure function of what was seen: the exit code of Ansible, the journal, and whether we stopped it. Two witnesses must
agree before a stage counts as succeeded; what cannot be known is said to be unknown and never rounded to an outcome.

Not here: what follows from the outcome (`perform`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from opsascode.run._journal import Journal

_NAMED_HOSTS: Final = 3


class Outcome(Enum):
    """How a stage ended; INDETERMINATE means that we do not know, and is none of the others."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How Ansible came to an end, seen from outside.

    `rc` is its exit code, None when it was killed or nobody saw it end. `stopped` is why we stopped it, else empty;
    `down` that nothing of it runs any more. `broken` is how the child that ran it failed, else empty. `refusal` is the
    error Ansible printed last, else empty. `unswept` are the hosts where something of it may still run, and why it is
    thought so. `unready` is why Ansible was not started at all, else empty.
    """

    rc: int | None
    stopped: str = ""
    down: bool = True
    broken: str = ""
    refusal: str = ""
    unswept: Mapping[str, str] = field(default_factory=dict)
    unready: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An outcome and the sentence that explains it."""

    outcome: Outcome
    reason: str


def judge(ending: Ending, journal: Journal, hosts: Collection[str]) -> Verdict:
    """Reach the verdict on a stage that had to act on exactly `hosts`."""
    verdict = _judge(ending, journal, hosts)
    if not ending.unswept:
        return verdict
    told = "; ".join(f"{host} ({ending.unswept[host]})" for host in sorted(ending.unswept)[:_NAMED_HOSTS])
    more = len(ending.unswept) - _NAMED_HOSTS
    where = f"{told} and {_number(range(more))} more" if more > 0 else told
    return replace(
        verdict, outcome=Outcome.INDETERMINATE, reason=f"{verdict.reason}; something may still run on {where}"
    )


def _judge(  # noqa: PLR0911 - one return for each thing that decides alone
    ending: Ending, journal: Journal, hosts: Collection[str]
) -> Verdict:
    whole = not journal.fault and not journal.torn
    if not ending.down:
        return _unknown("it could not be stopped: some of its processes are still running")
    if ending.unready and not journal.events:
        return _failed(f"nothing was begun, for what an earlier run began could not be ended: {ending.unready}")
    if ending.stopped and not (whole and journal.ended and ending.rc is not None):
        return (
            _unknown(f"{ending.stopped}, and the journal is damaged: {journal.fault}")
            if journal.fault
            else _canceled(ending)
        )
    if ending.broken:
        return _unknown(ending.broken)
    if not whole:
        return _unknown(f"the journal is damaged: {journal.fault or 'its last line is incomplete'}")
    if not journal.ended:
        return _without_end(ending, journal)
    return _with_end(ending, journal, set(hosts))


def _canceled(ending: Ending) -> Verdict:
    return Verdict(outcome=Outcome.CANCELED, reason=ending.stopped)


def _without_end(ending: Ending, journal: Journal) -> Verdict:
    if ending.rc and not journal.tasks:
        return _failed(ending.refusal or f"Ansible refused to start (exit code {ending.rc})")
    how = "was killed" if ending.rc is None else f"ended with exit code {ending.rc}"
    return _unknown(f"Ansible {how} before its end was written down{': ' if ending.refusal else ''}{ending.refusal}")


def _with_end(ending: Ending, journal: Journal, expected: set[str]) -> Verdict:
    seen = set(journal.hosts)
    failed = sorted(host for host, counts in journal.hosts.items() if counts.failures)
    unreachable = sorted(host for host, counts in journal.hosts.items() if counts.unreachable and not counts.failures)
    if seen - expected:
        return _unknown(f"hosts took part that were not meant to: {_named(seen - expected)}")
    if failed or unreachable:
        parts = [f"{_number(failed)} failed: {_named(failed)}"] if failed else []
        parts += [f"{_number(unreachable)} could not be reached: {_named(unreachable)}"] if unreachable else []
        return _failed("; ".join(parts))
    if not seen and not journal.tasks and not journal.batch_hosts:
        return _failed("no host took part: nothing was done")
    done_for_all = journal.only_once and seen and journal.batch_hosts >= len(expected)
    if seen != expected and not done_for_all:
        return _unknown(f"no result came from {_named(expected - seen)}")
    if ending.rc != 0:
        code = "was killed" if ending.rc is None else f"ended with exit code {ending.rc}"
        return _unknown(f"Ansible {code}, though the journal knows of no failure")
    changed = sum(1 for counts in journal.hosts.values() if counts.changed)
    return Verdict(outcome=Outcome.SUCCEEDED, reason=f"{_number(expected)} done, {changed} changed")


def _failed(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.FAILED, reason=reason)


def _unknown(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.INDETERMINATE, reason=reason)


def _number(hosts: Collection[object]) -> str:
    return f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}"


def _named(hosts: Iterable[str]) -> str:
    names = sorted(hosts)
    more = len(names) - _NAMED_HOSTS
    return ", ".join(names[:_NAMED_HOSTS]) + (f" and {more} more" if more > 0 else "")
