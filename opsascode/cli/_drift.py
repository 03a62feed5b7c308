"""`opsascode status --drift`: what is not any more what people looked at, applied or loaded?

Three things are compared: each runbook with what was last run, rehearsed or reviewed; the applied pack with the branch;
the rules that the policies give with those that Prometheus has loaded. What cannot be asked is said, and nothing else
fails for it.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Final

from opsascode.cli._console import count, escape_line, stamp
from opsascode.cli._policy import protected_of
from opsascode.cli._slo_desk import SloDesk
from opsascode.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from opsascode.cli._context import Face
    from opsascode.repo import Snapshot
    from opsascode.run import RunbookDrift, RunbookEvidence

_SHOWN: Final = 50
_NAMED: Final = 8


def drift_report(face: Face) -> dict[str, Any]:
    """Collect what has drifted."""
    return {"runbooks": _runbooks(face), "policies": _policies(face), "rules": _rules(face)}


def drift_lines(told: dict[str, Any]) -> Iterator[str]:
    """Show what has drifted to a person."""
    yield from _runbook_lines(told["runbooks"])
    yield ""
    yield from _policy_lines(told["policies"])
    yield from _rule_lines(told["rules"])


def _runbooks(face: Face) -> dict[str, Any]:
    from opsascode.run import (  # noqa: PLC0415 - keeps --help quick
        DRIFT_RECORDS,
        DRIFT_TARGET,
        evidence_of,
        ledger_records,
        reviewed_by_pack,
        runbook_drift,
    )

    state, desk = face.state, face.policies
    keys = state.ledger_keys(os.environ)
    records = ledger_records(state, DRIFT_RECORDS, keys=keys, team=desk.book.team if desk.pin else None)
    current, applied = desk.log.current, _applied(face)
    review = reviewed_by_pack(applied, current.applied, protected_of(desk)) if applied and current else None
    found = runbook_drift(face.repository, evidence_of(records), review)
    drifted = [each for each in found if each.drifted]
    share = len(drifted) / len(found) if found else 0.0
    return {
        "total": len(found),
        "drifted": len(drifted),
        "partly_compared": sum(bool(each.not_compared) for each in found),
        "share": share,
        "target": DRIFT_TARGET,
        "within_target": share <= DRIFT_TARGET,
        "items": [_item(each) for each in found],
    }


def _item(each: RunbookDrift) -> dict[str, Any]:
    return {
        "runbook": each.runbook,
        "path": each.path,
        "digest": each.digest,
        "drifted": each.drifted,
        "why": each.why,
        "differs": list(each.differs),
        "not_compared": each.not_compared,
        "last": _evidence(each.last) if each.last else None,
    }


def _evidence(each: RunbookEvidence) -> dict[str, Any]:
    return {"kind": each.kind.value, "at": each.at.isoformat(), "by": each.by, "digest": each.digest}


def _applied(face: Face) -> Snapshot | None:
    """Give the applied pack, read from Git's objects; None where none is applied."""
    desk = face.policies
    if desk.pin is None or desk.log.current is None:
        return None
    return desk.store.snapshot(desk.log.current.pack.commit, protected_of(desk))


def _policies(face: Face) -> dict[str, Any]:
    """Compare the applied pack with HEAD, file by file."""
    desk = face.policies
    if desk.pin is None:
        return {"applied": None, "why": "no trust root is pinned here: the work tree's policies hold", "files": []}
    applied = _applied(face)
    if applied is None:
        return {"applied": None, "why": "a trust root is pinned here, and no pack was applied yet", "files": []}
    head = desk.store.commit_of("HEAD")
    if head is None:
        return {"applied": applied.commit, "why": "HEAD stands on a branch without a commit", "files": []}
    there = desk.store.snapshot(head, protected_of(desk)).files
    before = applied.files
    differ = sorted(
        path
        for path in before.keys() | there.keys()
        if (before[path].digest if path in before else None) != (there[path].digest if path in there else None)
    )
    return {"applied": applied.commit, "head": head, "why": "", "files": differ}


def _rules(face: Face) -> dict[str, Any]:
    """Compare the rules that the policies give with those that Prometheus has loaded."""
    from opsascode.slo import PrometheusError, compare_loaded, rule_files  # noqa: PLC0415 - keeps --help quick

    if face.repository.settings.prometheus is None:
        return {"checked": False, "why": "opsascode.yml names no Prometheus (spec.prometheus.url)"}
    desk = SloDesk(face=face)
    try:
        files, client = rule_files(desk.policies), desk.client()
        found = compare_loaded(files, client)
    except PrometheusError as error:
        return {"checked": False, "why": str(error)}
    except OpsError as error:
        return {"checked": False, "why": f"there are no policies to compare with: {error}"}
    return {
        "checked": True,
        "why": "",
        "prometheus": client.address,
        "expected": found.expected,
        "loaded": found.loaded,
        "differences": [
            {"what": each.loading.value, "group": each.group, "rule": each.rule, "why": each.why}
            for each in found.differences
        ],
    }


def _runbook_lines(told: dict[str, Any]) -> Iterator[str]:
    share, target = 100 * told["share"], 100 * told["target"]
    verdict = "within" if told["within_target"] else "MORE than"
    if not told["total"]:
        yield "Drift: there are no runbooks"
        return
    yield (
        f"Drift: {told['drifted']} of {count(told['total'], 'runbook')} ({share:.1f}%), "
        f"{verdict} the {target:.0f}% that is the target"
    )
    rows = [(each["runbook"], each["why"], _last_words(each["last"])) for each in told["items"] if each["drifted"]]
    yield from _table(("RUNBOOK", "WHY", "LAST"), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} more: --format json names all"
    yield from _partly_lines([each for each in told["items"] if each["not_compared"]])


def _partly_lines(partly: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Say of how many runbooks a part could not be compared: that part may have changed unseen."""
    if partly:
        were, first = "was" if len(partly) == 1 else "were", partly[0]
        yield f"  {count(len(partly), 'runbook')} {were} compared in part only; a run or a rehearsal mends that"
        yield f"  {escape_line(first['runbook'])}: not compared is {escape_line(first['not_compared'])}"


def _last_words(last: dict[str, Any] | None) -> str:
    from datetime import datetime  # noqa: PLC0415 - keeps --help quick

    if last is None:
        return "-"
    return f"{stamp(datetime.fromisoformat(last['at']).astimezone(UTC))}, {last['kind']}, {last['by']}"


def _policy_lines(told: dict[str, Any]) -> Iterator[str]:
    if told["why"]:
        yield f"policies  {told['why']}"
        return
    files = told["files"]
    if not files:
        yield f"policies  HEAD holds what is applied (commit {told['applied'][:12]})"
        return
    named = ", ".join(escape_line(each) for each in files[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    yield f"policies  {count(len(files), 'file')} of HEAD not as applied (commit {told['applied'][:12]}): {named}{more}"


def _rule_lines(told: dict[str, Any]) -> Iterator[str]:
    if not told["checked"]:
        yield f"rules     not compared: {escape_line(told['why'])}"
        return
    differences = told["differences"]
    where = f"Prometheus at {escape_line(told['prometheus'])}"
    if not differences:
        yield f"rules     {where} has loaded all {count(told['expected'], 'rule')} as the policies give them"
        return
    found = Counter(each["what"] for each in differences)
    counted = ", ".join(f"{found[what]} {what}" for what in ("missing", "different", "extra") if found[what])
    yield f"rules     {where} has loaded {told['loaded']} of {told['expected']}: {counted}"
    rows = [(each["what"], f"{each['group']} {each['rule']}".strip(), each["why"]) for each in differences]
    yield from _table(("WHAT", "RULE", "WHY"), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} more: --format json names all"
    yield "          write them again with `opsascode slo rules --out DIR`, and reload Prometheus"


def _table(heads: tuple[str, str, str], rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    if not rows:
        return
    shown = [heads, *(tuple(escape_line(each) for each in row) for row in rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(2)]
    for first, second, third in shown:
        yield f"  {first:<{widths[0]}}  {second:<{widths[1]}}  {third}".rstrip()
