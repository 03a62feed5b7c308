"""May it be done? The door of the policy house: pure judgements over small values, no input or output.

Not here: what a plan is (`run`), what a guardrail document looks like (`repo`), who signed what (`proof`).
"""

from __future__ import annotations

from opsascode.policy._approval import (
    APPROVAL,
    MAX_LIFETIME,
    MAX_REASON,
    Approval,
    ApprovalCode,
    ApprovalError,
    ApprovalNeed,
    ApprovalVerdict,
    Counted,
    Decision,
    judge_approvals,
)
from opsascode.policy._guardrail import (
    PERMIT_LIFETIME,
    BlastRadius,
    Permit,
    Reason,
    Refusal,
    Subject,
    Trigger,
    judge,
    permit_covers,
)

__all__ = [
    "APPROVAL",
    "MAX_LIFETIME",
    "MAX_REASON",
    "PERMIT_LIFETIME",
    "Approval",
    "ApprovalCode",
    "ApprovalError",
    "ApprovalNeed",
    "ApprovalVerdict",
    "BlastRadius",
    "Counted",
    "Decision",
    "Permit",
    "Reason",
    "Refusal",
    "Subject",
    "Trigger",
    "judge",
    "judge_approvals",
    "permit_covers",
]
