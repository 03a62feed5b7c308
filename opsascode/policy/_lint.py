"""Do the policies of a repository make sense together? Every document is valid by itself; here they are held together.

A finding is a problem with a place and a mend. It is a warning where somebody may have meant it, and an error only
where nothing sensible can be meant. What is not certain is not reported: whoever is warned in vain stops reading.

Not here: what one document alone may say (`repo`), reading documents or people (`cli`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.policy._lint_budgets import alert_problems, escalation_problems, resolution_problems, severity_problems
from opsascode.policy._lint_clocks import clock_problems
from opsascode.policy._lint_rules import guardrail_problems
from opsascode.policy._lint_runbooks import reach_problems, remediation_problems
from opsascode.repo import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from opsascode.repo import People, Policies, Runbook


def lint_key() -> str:
    """Name everything but documents, people and the day that a finding depends on: this code."""
    own = Path(__file__).parent
    digest = hashlib.sha256()
    for folder in (own, own.parent / "slo"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def lint(
    policies: Policies, runbooks: Sequence[Runbook], people: People | None, *, now: datetime
) -> tuple[Problem, ...]:
    """Find what does not fit together, in the order of places.

    `people` are those of the trust root, None where there is none. `now` must be aware: clock changes of the two years
    after it are looked at.

    Raises:
        ValueError: when `now` is naive.
    """
    if now.tzinfo is None:
        msg = "lint needs an aware time"
        raise ValueError(msg)
    found = {
        *alert_problems(policies),
        *resolution_problems(policies),
        *guardrail_problems(policies, runbooks, now=now),
        *clock_problems(policies.calendars, now=now),
        *remediation_problems(policies, runbooks),
        *escalation_problems(policies, people),
        *severity_problems(policies.severities),
        *reach_problems(policies, runbooks, people),
    }
    return tuple(sorted(found, key=Problem.sort_key))
