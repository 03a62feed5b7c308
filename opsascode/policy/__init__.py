"""May it be done? The door of the policy house: pure judgements over small values, no input or output.

Rooms are loaded when one of their names is first asked for, as a transition needs much that a guardrail does not.

Not here: what a plan is (`run`), what a guardrail document looks like (`repo`), who signed what (`proof`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsascode.policy._approval import (
        APPROVAL,
        MAX_LIFETIME,
        Answer,
        Approval,
        ApprovalCode,
        ApprovalNeed,
        ApprovalVerdict,
        Counted,
        judge_approvals,
    )
    from opsascode.policy._break_glass import (
        GlassDecision,
        judge_break_glass,
        judge_ratification,
    )
    from opsascode.policy._bridge import (
        AcceptedReview,
        BridgeError,
        PullRequest,
        RejectedReview,
        pull_request_of,
        reviews_of,
    )
    from opsascode.policy._change import (
        FORGE_REVIEW,
        POLICY_APPROVAL,
        Change,
        ChangeStatement,
        ForgeReview,
        ReviewState,
        Said,
        SeenCheckpoint,
    )
    from opsascode.policy._classify import (
        Candidate,
        Classification,
        Identities,
        OldState,
        classify,
    )
    from opsascode.policy._count import (
        Needs,
        tally,
    )
    from opsascode.policy._diff import (
        FieldChange,
        FileChange,
        PackDiff,
        diff_packs,
        effects_of,
    )
    from opsascode.policy._direction import (
        Direction,
    )
    from opsascode.policy._effect import (
        EffectLoss,
    )
    from opsascode.policy._forms import (
        MAX_REASON,
        ApprovalError,
    )
    from opsascode.policy._glass import (
        BREAK_GLASS_TYPE,
        RATIFICATION_TYPE,
        BreakGlass,
        Debt,
        Debts,
        LoggedStatement,
        Ratification,
        debts_of,
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
    from opsascode.policy._levels import (
        Finding,
        Level,
        TransitionClass,
    )
    from opsascode.policy._say import (
        Asked,
    )
    from opsascode.policy._transition import (
        Decision,
        Trust,
        change_of,
        decide,
        hear_all,
        needs_of,
        verify,
    )
    from opsascode.policy._trust_change import (
        COOL_DOWN,
    )

__all__ = [
    "APPROVAL",
    "BREAK_GLASS_TYPE",
    "COOL_DOWN",
    "FORGE_REVIEW",
    "MAX_LIFETIME",
    "MAX_REASON",
    "PERMIT_LIFETIME",
    "POLICY_APPROVAL",
    "RATIFICATION_TYPE",
    "AcceptedReview",
    "Answer",
    "Approval",
    "ApprovalCode",
    "ApprovalError",
    "ApprovalNeed",
    "ApprovalVerdict",
    "Asked",
    "BlastRadius",
    "BreakGlass",
    "BridgeError",
    "Candidate",
    "Change",
    "ChangeStatement",
    "Classification",
    "Counted",
    "Debt",
    "Debts",
    "Decision",
    "Direction",
    "EffectLoss",
    "FieldChange",
    "FileChange",
    "Finding",
    "ForgeReview",
    "GlassDecision",
    "Identities",
    "Level",
    "LoggedStatement",
    "Needs",
    "OldState",
    "PackDiff",
    "Permit",
    "PullRequest",
    "Ratification",
    "Reason",
    "Refusal",
    "RejectedReview",
    "ReviewState",
    "Said",
    "SeenCheckpoint",
    "Subject",
    "TransitionClass",
    "Trigger",
    "Trust",
    "change_of",
    "classify",
    "debts_of",
    "decide",
    "diff_packs",
    "effects_of",
    "hear_all",
    "judge",
    "judge_approvals",
    "judge_break_glass",
    "judge_ratification",
    "needs_of",
    "permit_covers",
    "pull_request_of",
    "reviews_of",
    "tally",
    "verify",
]

_ROOMS = {
    "_approval": (
        "APPROVAL", "MAX_LIFETIME", "Answer", "Approval", "ApprovalCode", "ApprovalNeed", "ApprovalVerdict", "Counted",
        "judge_approvals",
    ),
    "_break_glass": ("GlassDecision", "judge_break_glass", "judge_ratification"),
    "_bridge": ("AcceptedReview", "BridgeError", "PullRequest", "RejectedReview", "pull_request_of", "reviews_of"),
    "_change": (
        "FORGE_REVIEW", "POLICY_APPROVAL", "Change", "ChangeStatement", "ForgeReview", "ReviewState", "Said",
        "SeenCheckpoint",
    ),
    "_classify": ("Candidate", "Classification", "Identities", "OldState", "classify"),
    "_count": ("Needs", "tally"),
    "_diff": ("FieldChange", "FileChange", "PackDiff", "diff_packs", "effects_of"),
    "_direction": ("Direction",),
    "_effect": ("EffectLoss",),
    "_forms": ("MAX_REASON", "ApprovalError"),
    "_glass": (
        "BREAK_GLASS_TYPE", "RATIFICATION_TYPE", "BreakGlass", "Debt", "Debts", "LoggedStatement", "Ratification",
        "debts_of",
    ),
    "_guardrail": (
        "PERMIT_LIFETIME", "BlastRadius", "Permit", "Reason", "Refusal", "Subject", "Trigger", "judge",
        "permit_covers",
    ),
    "_levels": ("Finding", "Level", "TransitionClass"),
    "_say": ("Asked",),
    "_transition": ("Decision", "Trust", "change_of", "decide", "hear_all", "needs_of", "verify"),
    "_trust_change": ("COOL_DOWN",),
}  # fmt: skip
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
