"""How are people asked to overrule a gate that blocks, and what did they answer?

A blocked verdict is put to people as a run's question is: a request, whose plan is the verdict itself, lies in the
state directory and in the mailbox, and people sign with `opsascode approve`. It belongs to no run: what they sign lets
that change out as often as it is asked about, for the same reasons, until it ends.

Who asks again for the same while a request stands, asks with that one: also where it was declined. Nobody who asked,
now or then, counts. Where an account asks that no person is behind, nothing that is signed could count, so nobody is
asked.

Not here: who counts (`policy`), the files (`_asks`), where they lie (`_exchange`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError, UsageError
from opsascode.policy import (
    GATE_REQUEST,
    GateAsked,
    OverrideCode,
    OverrideFault,
    for_something_else,
    hear_override,
    unknown_accounts,
)
from opsascode.proof import canonical_bytes, read_unverified, sha256_digest, stamp
from opsascode.run._asks import (
    ASKS_DIRECTORY,
    Ask,
    AskKind,
    AskRequest,
    aliases_of,
    need_of,
    read_request,
    write_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import ApprovalNeed, GateOverride, GateVerdict
    from opsascode.proof import Json
    from opsascode.repo import OverrideNeeded, People
    from opsascode.run._asks import WrittenRequest
    from opsascode.run._exchange import Exchange
    from opsascode.run._record import Actor

_STAGE: Final = "0.1"
_HEARD_FOR: Final = timedelta(days=7)
_MOST_HEARD: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What people were asked, and what they said, about the gate of one service for one change.

    `change` is empty where nobody named it. `files` are statements and requests that were brought as files, and count
    beside those that lie in `exchange`.
    """

    exchange: Exchange
    repository: str
    service: str
    change_class: str
    change: str
    files: tuple[bytes, ...] = ()

    def hear(
        self, needed: OverrideNeeded, people: People, actor: Actor, now: datetime
    ) -> tuple[GateOverride | OverrideFault, ...]:
        """Judge every request that may be meant, with all that was signed for it, by what is needed now."""
        requests, envelopes = self._brought()
        heard: list[GateOverride | OverrideFault] = []
        brought = {(each.request.run, each.request.plan_digest) for each in requests}
        meant = [*requests, *(each for each in self._left(now) if _name(each) not in brought)]
        for each in meant[:_MOST_HEARD]:
            given = (*self.exchange.gather(each.request), *envelopes)
            about = [one for one in given if _plan_of(one) == each.request.plan_digest]
            if about or _name(each) in brought:
                need = _need(each, needed, actor, self.repository)
                heard.append(self._about_else(each) or hear_override(each.plan, need, about, people, now))
        known = {each.request.plan_digest for each in meant}
        return (*heard, *_about_nothing(envelopes, known))

    def in_vain(self, people: People, actor: Actor) -> OverrideFault | None:
        """Say why nobody's answer could count for who asks now; None where it could."""
        return unknown_accounts(people, (actor.user, *aliases_of(actor)))

    def standing(self, verdict: GateVerdict, actor: Actor, now: datetime) -> WrittenRequest | None:
        """Give a request of the same account for the same change and reasons that stands already."""
        keys = {each.key for each in verdict.blocking}
        for each in (*self._brought()[0], *self._left(now)):
            asked = _asked_of(each)
            if asked is None or asked.keys != keys or each.request.requester != actor.user:
                continue
            if asked.repository != self.repository or for_something_else(asked, self) is not None:
                continue
            lifetime = min(each.request.ask.lifetime, verdict.needed.lifetime if verdict.needed else timedelta())
            if asked.asked <= now < asked.asked + lifetime:
                return each
        return None

    def ask(self, verdict: GateVerdict, name: str, *, commit: str | None, actor: Actor) -> AskRequest:
        """Put a blocked verdict to people, and leave it where they find it.

        Raises:
            ResolveError: the state directory cannot be written.
        """
        plan = canonical_bytes(self._plan(verdict, name, commit))
        request = AskRequest(
            run=name,
            plan_digest=sha256_digest(plan),
            ask=_ask_of(verdict),
            requester=actor.user,
            aliases=tuple(aliases_of(actor)),
            asked=verdict.asked,
            repository=self.repository,
        )
        write_request(self.exchange.directory(name), request, plan)
        self.exchange.announce(request)
        return request

    def place(self, request: AskRequest) -> Path | None:
        """Say in which file of this machine a request lies; None where it came from elsewhere."""
        place = self.exchange.directory(request.run) / ASKS_DIRECTORY / f"{request.ask.stage}.json"
        return place if place.is_file() else None

    def _plan(self, verdict: GateVerdict, name: str, commit: str | None) -> dict[str, Json]:
        needed = verdict.needed
        lifetime = needed.lifetime if needed else timedelta()
        return {
            "format": GATE_REQUEST,
            "gate": name,
            "repository": self.repository,
            "service": verdict.service,
            "change_class": verdict.change_class,
            "change": self.change,
            "verdict": verdict.verdict.value,
            "reasons": [each.to_json() for each in verdict.reasons],
            "policies": list(verdict.policies),
            "commit": commit,
            "asked": stamp(verdict.asked),
            "until": stamp(verdict.asked + lifetime),
            "stages": [{"ask": _ask_of(verdict).to_json()}],
        }

    def _left(self, now: datetime) -> Iterator[WrittenRequest]:
        """Give the requests that lie here and in the mailbox and may be meant: of this change first, the newest first.

        Of other changes, those that still stand may have been meant by mistake.
        """
        found: list[tuple[bool, WrittenRequest]] = []
        for each in self.exchange.requests():
            asked = _asked_of(each)
            if asked is None or (asked.service, asked.change_class) != (self.service, self.change_class):
                continue
            same = asked.change == self.change
            if now - asked.asked <= _HEARD_FOR if same else asked.asked <= now < asked.until:
                found.append((same, each))
        found.sort(key=lambda one: (one[0], one[1].request.asked, one[1].request.run), reverse=True)
        yield from (each for _, each in found)

    def _about_else(self, written: WrittenRequest) -> OverrideFault | None:
        """Say, before signatures are counted, that a request is about another question: more of them would not help."""
        asked = _asked_of(written)
        return None if asked is None else for_something_else(asked, self)

    def _brought(self) -> tuple[list[WrittenRequest], list[bytes]]:
        """Tell requests from statements among what was brought as files."""
        requests, envelopes = [], []
        for number, data in enumerate(self.files, start=1):
            if b'"opsascode/ask/v1"' in data:
                requests.append(read_request(data, name=f"override {number}"))
            else:
                envelopes.append(data)
        return requests, envelopes


def _ask_of(verdict: GateVerdict) -> Ask:
    needed = verdict.needed
    if needed is None:
        raise UsageError("nobody may override this gate")
    return Ask(
        stage=_STAGE,
        wave=0,
        kind=AskKind.APPROVAL,
        step="",
        title=f"Let a change of class {verdict.change_class} to {verdict.service} out although its gate blocks",
        required=needed.required,
        role=needed.role,
        lifetime=needed.lifetime,
    )


def _need(written: WrittenRequest, needed: OverrideNeeded, actor: Actor, repository: str) -> ApprovalNeed:
    """Say what is needed now: by the policy that holds now, and without whoever asks now."""
    request = written.request
    who = dict.fromkeys((*request.aliases, actor.user, *aliases_of(actor)))
    return replace(
        need_of(request),
        repository=repository,
        required=needed.required,
        role=needed.role,
        lifetime=needed.lifetime,
        aliases=tuple(each for each in who if each != request.requester),
    )


def _about_nothing(envelopes: Sequence[bytes], known: set[str]) -> Iterator[OverrideFault]:
    """Say of each statement that was brought, and is about nothing that is known here, that it does nothing."""
    for each in envelopes:
        plan = _plan_of(each)
        if plan not in known:
            message = f"it is about {(plan or 'nothing')[:19]}, which no request here or in the mailbox is"
            mend = "bring the request along: --override FILE, as it lies in the state directory of who asked"
            yield OverrideFault(id="", code=OverrideCode.UNKNOWN, message=message, mend=mend)


def _asked_of(written: WrittenRequest) -> GateAsked | None:
    try:
        return GateAsked.of_json(written.plan)
    except UsageError:
        return None


def _name(written: WrittenRequest) -> tuple[str, str]:
    return written.request.run, written.request.plan_digest


def _plan_of(envelope: bytes) -> str | None:
    """Give which plan a statement is about, by its own unproven words."""
    try:
        found = read_unverified(envelope).predicate.get("plan")
    except ProofError:
        return None
    return found if isinstance(found, str) else None
