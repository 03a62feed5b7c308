"""What does a real Prometheus add to a check?

Only a repository whose documents are all valid is looked at.

Not here: finding anything (`slo`), showing it (`_check`).
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from opsascode.repo import CheckReport, Repository
    from opsascode.slo import PrometheusError


def with_live(
    report: CheckReport, repository: Repository, *, now: datetime
) -> tuple[CheckReport, PrometheusError | None]:
    """Add what Prometheus lacks to a report, as far as it was asked about; and say why it could not be asked."""
    from opsascode.repo import Problem  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import PrometheusClient, PrometheusError, check_live  # noqa: PLC0415 - likewise

    if not report.valid:
        return report, None
    policies = repository.policies().reliability
    settings = repository.settings.prometheus
    if not policies:
        return report, None
    if settings is None:
        advice = "write spec.prometheus: {url: …} in opsascode.yml"
        return report, PrometheusError("--live asks Prometheus, and none is named here", advice=advice)
    try:
        client = PrometheusClient.of(settings, root=repository.root, environment=os.environ)
    except PrometheusError as error:
        return report, error
    found = check_live(policies, client, now)
    about = report.about
    kept = {each for each in found.problems if about is None or each.position.path in about}
    problems = tuple(sorted({*report.problems, *kept}, key=Problem.sort_key))
    return replace(report, problems=problems), found.failed
