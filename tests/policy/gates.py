"""A gate in memory: policies from documents, what was measured as counts, and people who overrule it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opsascode.policy import GateQuestion, OpenIncident
from opsascode.repo import Policies, parse_duration, policies_of
from opsascode.slo import Counted, SloSnapshot, TargetSeen, burn_windows
from tests.transitions import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import ReliabilityPolicy

NOW = datetime(2026, 12, 21, 12, tzinfo=UTC)
CALENDARS = """
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: holidays}
spec:
  timezone: Europe/Berlin
  windows:
    - {name: year-end, start: "2026-12-20T18:00", end: "2027-01-04T00:00", reason: few people are there}
---
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: mondays}
spec:
  timezone: UTC
  windows: [{name: noon, days: [mon], from: "11:30", to: "12:30", reason: lunch}]
"""


def document(
    gate: Mapping[str, Any] | None = None, targets: Mapping[str, Any] | None = None, name: str = "shop", **spec: Any
) -> str:
    """The text of a reliability policy; JSON is YAML too."""
    body = {"slo_targets": targets or {"availability": "99.9%"}, "escalation_chain": [{"notify": "team:sre"}], **spec}
    if gate is not None:
        body["gate"] = dict(gate)
    head = {"apiVersion": "opsascode/v1", "kind": "ReliabilityPolicy", "metadata": {"name": name}}
    return json.dumps({**head, "spec": body})


def policies(*documents: str) -> Policies:
    """The policies of these documents, with two calendars."""
    files = {f"policies/{number}.yml": text for number, text in enumerate(documents)}
    return policies_of(snapshot({**files, "policies/calendars.yml": CALENDARS}))


def seen(policy: ReliabilityPolicy, name: str, about: Mapping[str, Any], taken: datetime) -> TargetSeen:
    """What was measured for one promise."""
    target = policy.target(name)
    gone = bool(about.get("gone"))
    last = taken - parse_duration(about["seen"]) if "seen" in about else None
    rate = about.get("rate")
    windows = {each for one in burn_windows(policy) for each in (one.long, one.short)}
    return TargetSeen(
        id=name,
        target=target.target if target else Decimal("0.5"),
        start=taken - timedelta(days=30),
        end=taken,
        counted=Counted(bad=Decimal(about["bad"]), total=Decimal(about["total"])),
        rates={each: None if rate is None else Decimal(str(rate)) for each in windows},
        present=not gone,
        last_data=last if gone else taken,
        problem=about.get("problem"),
    )


def measured(
    policy: ReliabilityPolicy,
    about: Mapping[str, Mapping[str, Any]],
    taken: datetime = NOW,
    unreachable: str | None = None,
) -> SloSnapshot:
    """What was measured for one policy."""
    return SloSnapshot(
        policy=policy.metadata.name,
        service=policy.service,
        commit=None,
        digest=policy.source.digest,
        taken=taken,
        targets=tuple(seen(policy, name, each, taken) for name, each in about.items()),
        unreachable=unreachable,
    )


def question(
    known: Policies,
    about: Mapping[str, Mapping[str, Any]],
    *,
    change_class: str = "deploy",
    incidents: tuple[OpenIncident, ...] = (),
    service: str = "shop",
) -> GateQuestion:
    """A question about a service, with the same measured for each of its policies."""
    return GateQuestion(
        service=service,
        change_class=change_class,
        snapshots=tuple(measured(each, about) for each in known.of_service(service)),
        incidents=incidents,
        asked=NOW,
    )


def incident(**changes: Any) -> OpenIncident:
    """An incident of rank 1 on the shop."""
    made = {"id": "inc-20261221-110000-aaaaaa", "service": "shop", "rank": 1, "title": "Payments fail"}
    return OpenIncident(**{"opened": NOW - timedelta(hours=1), "by": "alice", **made, **changes})
