"""May a change of this kind go out now? The gate of a service, judged by what was measured, declared and agreed.

Rules: each policy of the service is asked by itself, and the worst answer counts. Every reason is given at once, with
its figures, its place in the document and what would change it. What is not known is never taken for good: it is a
reason of its own, and the verdict says whether the gate fails closed or open. A change of an exempt class passes with
the reasons shown. An override counts only for the service, the class, the change and the reasons that its people were
shown.

Not here: measuring (`slo`), finding the reasons (`_gate_reasons`), who signed an override (`_gate_override`), scoring
after a change (`_score`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from opsascode.errors import UsageError
from opsascode.policy._gate_override import GateOverride, OverrideCode, OverrideFault, for_something_else
from opsascode.policy._gate_question import GateCode, GateQuestion, GateReason, OpenIncident, Verdict, worst
from opsascode.policy._gate_reasons import reasons_of, unknown_words
from opsascode.proof import RUN_APPROVER, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from opsascode.proof import Json
    from opsascode.repo import OverrideNeeded, Policies, ReliabilityPolicy

__all__ = [
    "GateCode",
    "GateOverride",
    "GateQuestion",
    "GateReason",
    "GateVerdict",
    "NoPolicyError",
    "OpenIncident",
    "OverrideFault",
    "Verdict",
    "decide_gate",
    "override_need",
    "worst",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What the gate says about one question, and why.

    `found` is what the reasons say; `verdict` what follows, with exemptions and the override. `exempt` are the
    policies that exempt the class. `needed` is what an override of the reasons that block takes (None: nobody may).
    `unused` are overrides that do not count, each with why. `unknown_policy` says "fails closed" or "fails open" where
    something is not known.
    """

    service: str
    change_class: str
    asked: datetime
    verdict: Verdict
    found: Verdict
    reasons: tuple[GateReason, ...]
    policies: tuple[str, ...]
    exempt: tuple[str, ...] = ()
    override: GateOverride | None = None
    unused: tuple[OverrideFault, ...] = ()
    needed: OverrideNeeded | None = None
    unknown_policy: str = ""

    @property
    def blocking(self) -> tuple[GateReason, ...]:
        """Give the reasons that block, those of exempting policies left out."""
        return tuple(each for each in self.reasons if each.effect is Verdict.BLOCK and each.policy not in self.exempt)

    def to_json(self) -> dict[str, Json]:
        """Give the verdict as plain JSON."""
        return {
            "service": self.service,
            "change_class": self.change_class,
            "asked": stamp(self.asked),
            "verdict": self.verdict.value,
            "found": self.found.value,
            "reasons": [each.to_json() for each in self.reasons],
            "policies": list(self.policies),
            "exempt": list(self.exempt),
            "override": None if self.override is None else self.override.to_json(),
            "unused_overrides": [each.to_json() for each in self.unused],
            "override_needs": None if self.needed is None else _needed_json(self.needed),
            "unknown": self.unknown_policy,
        }


class NoPolicyError(UsageError):
    """No reliability policy is about this service."""


def decide_gate(
    policies: Policies, question: GateQuestion, *, overrides: Sequence[GateOverride | OverrideFault] = (), now: datetime
) -> GateVerdict:
    """Decide whether the change may go out; `now` must be aware.

    Raises:
        NoPolicyError: no policy is about the service.
        ValueError: `now` is naive.
    """
    if now.tzinfo is None:
        msg = "a gate needs an aware time"
        raise ValueError(msg)
    asked = policies_asked(policies, question.service)
    reasons = tuple(reason for policy in asked for reason in reasons_of(policy, policies, question, now))
    exempt = tuple(each.metadata.name for each in asked if question.change_class in each.gate.exempt)
    verdict = worst(each.effect for each in reasons if each.policy not in exempt)
    blocking = tuple(each for each in reasons if each.effect is Verdict.BLOCK and each.policy not in exempt)
    needed = override_need([each for each in asked if each.metadata.name in {one.policy for one in blocking}])
    override, unused = None, tuple(each for each in overrides if isinstance(each, OverrideFault))
    if verdict is Verdict.BLOCK:
        given = [each for each in overrides if isinstance(each, GateOverride)]
        against = {each: tuple(_objections(each, question, blocking, needed, now)) for each in given}
        good = [each for each, faults in against.items() if not faults]
        override = max(good, key=lambda each: each.until, default=None)
        unused += tuple(faults[0] for faults in against.values() if faults)
    return GateVerdict(
        service=question.service,
        change_class=question.change_class,
        asked=question.asked,
        verdict=verdict if override is None else Verdict.PASS,
        found=worst(each.effect for each in reasons),
        reasons=reasons,
        policies=tuple(each.metadata.name for each in asked),
        exempt=exempt,
        override=override,
        unused=unused,
        needed=needed,
        unknown_policy=unknown_words(asked, reasons),
    )


def policies_asked(policies: Policies, service: str) -> tuple[ReliabilityPolicy, ...]:
    """Give the policies that a gate of this service asks.

    Raises:
        NoPolicyError: there are none.
    """
    from opsascode.repo import did_you_mean, quoted  # noqa: PLC0415 - only a mistake needs them

    found = policies.of_service(service)
    if not found:
        known = [each.service for each in policies.reliability]
        advice = did_you_mean(service, known) or "add a ReliabilityPolicy for it to policies/"
        raise NoPolicyError(f"no reliability policy is about the service {quoted(service)}", advice=advice)
    return found


def override_need(blocking: Sequence[ReliabilityPolicy]) -> OverrideNeeded | None:
    """Say what it takes to overrule all of these policies at once; None where one of them does not allow it.

    The most people any of them asks for, for the shortest of their times. They must ask for the same role: who has two
    roles would otherwise speak for both.
    """
    needs = [each.gate.override for each in blocking]
    allowed = [each for each in needs if each is not None]
    if not allowed or len(allowed) < len(needs) or len({each.role or RUN_APPROVER for each in allowed}) > 1:
        return None
    from opsascode.repo import OverrideNeeded  # noqa: PLC0415 - only a gate that blocks needs it

    return OverrideNeeded(
        required=max(each.required for each in allowed),
        role=allowed[0].role,
        lifetime=min(each.lifetime for each in allowed),
    )


def _objections(
    override: GateOverride,
    question: GateQuestion,
    blocking: Sequence[GateReason],
    needed: OverrideNeeded | None,
    now: datetime,
) -> Iterator[OverrideFault]:
    """Say why an override that people gave does not count here."""
    no = partial(OverrideFault, id=override.id)
    if needed is None:
        yield no(code=OverrideCode.NEVER, message="the policy lets nobody override this")
    elif len(override.by) < needed.required:
        message = f"{len(override.by)} of {needed.required} people agreed"
        yield no(code=OverrideCode.PEOPLE, message=message)
    elsewhere = for_something_else(override, question)
    if elsewhere is not None:
        yield elsewhere
    if override.until <= now:
        message = f"it ended at {override.until:%Y-%m-%d %H:%M:%S} UTC"
        yield no(code=OverrideCode.EXPIRED, message=message, mend="ask again")
    fresh = [each.message for each in blocking if each.key not in override.keys]
    if fresh:
        message = f"those who agreed were not shown this: {'; '.join(fresh)}"
        yield no(code=OverrideCode.NEW_REASON, message=message, mend="ask again")


def _needed_json(needed: OverrideNeeded) -> dict[str, Json]:
    return {
        "required": needed.required,
        "role": needed.role,
        "lifetime_seconds": int(needed.lifetime.total_seconds()),
    }
