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
        tally,
    )
    from opsascode.policy._diff import (
        FieldChange,
        PackDiff,
        diff_packs,
        effects_of,
    )
    from opsascode.policy._direction import (
        Direction,
    )
    from opsascode.policy._due import (
        Due,
        DueKind,
        due,
    )
    from opsascode.policy._explain import (
        Explanation,
        GuardrailExplained,
        RuleExplained,
        explain,
    )
    from opsascode.policy._forms import (
        MAX_REASON,
        ApprovalError,
    )
    from opsascode.policy._gate import (
        GateVerdict,
        NoPolicyError,
        decide_gate,
        policies_asked,
    )
    from opsascode.policy._gate_override import (
        GATE_REQUEST,
        GateAsked,
        GateOverride,
        OverrideCode,
        OverrideFault,
        for_something_else,
        hear_override,
        unknown_accounts,
    )
    from opsascode.policy._gate_question import (
        GateQuestion,
        GateReason,
        OpenIncident,
        Verdict,
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
        BudgetSeen,
        Permit,
        Reason,
        Refusal,
        Subject,
        Trigger,
        permit_covers,
    )
    from opsascode.policy._judge import (
        Prepared,
        approvals_asked,
        judge,
        prepare,
        roles_asked,
        services_asked,
    )
    from opsascode.policy._levels import (
        Finding,
        TransitionClass,
    )
    from opsascode.policy._lint import lint, lint_key
    from opsascode.policy._replayed import (
        ChangeKind,
        DecidingRule,
        Difference,
        GateJudged,
        PlanJudged,
        RecordKind,
        Replayable,
        Simulation,
        SloTaken,
    )
    from opsascode.policy._say import (
        Asked,
    )
    from opsascode.policy._score import (
        CriterionValue,
        ScoreCard,
        ScoreVerdict,
        score,
    )
    from opsascode.policy._simulate import (
        simulate,
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
    "APPROVAL", "BREAK_GLASS_TYPE", "COOL_DOWN", "FORGE_REVIEW", "GATE_REQUEST", "MAX_LIFETIME", "MAX_REASON",
    "PERMIT_LIFETIME", "RATIFICATION_TYPE", "AcceptedReview", "Answer", "Approval", "ApprovalCode",
    "ApprovalError", "ApprovalNeed", "ApprovalVerdict", "Asked", "BlastRadius", "BreakGlass", "BridgeError",
    "BudgetSeen", "Candidate", "Change", "ChangeKind", "ChangeStatement", "Classification",
    "CriterionValue", "Debt", "Debts", "DecidingRule", "Decision", "Difference", "Direction", "Due", "DueKind",
    "Explanation", "FieldChange", "Finding", "ForgeReview", "GateAsked",
    "GateJudged", "GateOverride", "GateQuestion", "GateReason", "GateVerdict", "GlassDecision", "GuardrailExplained",
    "Identities", "LoggedStatement", "NoPolicyError", "OldState", "OpenIncident",
    "OverrideCode", "OverrideFault", "PackDiff", "Permit", "PlanJudged", "Prepared", "PullRequest", "Ratification",
    "Reason", "RecordKind", "Refusal", "RejectedReview", "Replayable", "ReviewState", "RuleExplained", "Said",
    "ScoreCard", "ScoreVerdict", "SeenCheckpoint", "Simulation", "SloTaken", "Subject", "TransitionClass", "Trigger",
    "Trust", "Verdict", "approvals_asked", "change_of", "classify", "debts_of", "decide", "decide_gate", "diff_packs",
    "due", "effects_of", "explain", "for_something_else", "hear_all", "hear_override", "judge", "judge_approvals",
    "judge_break_glass", "judge_ratification", "lint", "lint_key", "needs_of", "permit_covers", "policies_asked",
    "prepare", "pull_request_of", "reviews_of", "roles_asked", "score", "services_asked", "simulate", "tally",
    "unknown_accounts", "verify",
]  # fmt: skip

_ROOMS = {
    "_approval": (
        "APPROVAL", "MAX_LIFETIME", "Answer", "Approval", "ApprovalCode", "ApprovalNeed", "ApprovalVerdict",
        "judge_approvals",
    ),
    "_break_glass": ("GlassDecision", "judge_break_glass", "judge_ratification"),
    "_bridge": ("AcceptedReview", "BridgeError", "PullRequest", "RejectedReview", "pull_request_of", "reviews_of"),
    "_change": (
        "FORGE_REVIEW", "Change", "ChangeStatement", "ForgeReview", "ReviewState", "Said",
        "SeenCheckpoint",
    ),
    "_classify": ("Candidate", "Classification", "Identities", "OldState", "classify"),
    "_count": ("tally",),
    "_diff": ("FieldChange", "PackDiff", "diff_packs", "effects_of"),
    "_direction": ("Direction",),
    "_due": ("Due", "DueKind", "due"),
    "_forms": ("MAX_REASON", "ApprovalError"),
    "_gate": ("GateVerdict", "NoPolicyError", "decide_gate", "policies_asked"),
    "_gate_override": (
        "GATE_REQUEST", "GateAsked", "GateOverride", "OverrideCode", "OverrideFault", "for_something_else",
        "hear_override", "unknown_accounts",
    ),
    "_gate_question": ("GateQuestion", "GateReason", "OpenIncident", "Verdict"),
    "_glass": (
        "BREAK_GLASS_TYPE", "RATIFICATION_TYPE", "BreakGlass", "Debt", "Debts", "LoggedStatement", "Ratification",
        "debts_of",
    ),
    "_explain": ("Explanation", "GuardrailExplained", "RuleExplained", "explain"),
    "_guardrail": (
        "PERMIT_LIFETIME", "BlastRadius", "BudgetSeen", "Permit", "Reason", "Refusal", "Subject", "Trigger",
        "permit_covers",
    ),
    "_judge": ("Prepared", "approvals_asked", "judge", "prepare", "roles_asked", "services_asked"),
    "_levels": ("Finding", "TransitionClass"),
    "_lint": ("lint", "lint_key"),
    "_replayed": (
        "ChangeKind", "DecidingRule", "Difference", "GateJudged", "PlanJudged", "RecordKind",
        "Replayable", "Simulation", "SloTaken",
    ),
    "_say": ("Asked",),
    "_score": ("CriterionValue", "ScoreCard", "ScoreVerdict", "score"),
    "_simulate": ("simulate",),
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
