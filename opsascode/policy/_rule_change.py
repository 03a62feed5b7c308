"""Which way does a change of a guardrail's rules lead?

Where a matching rule that denies always decides (deny-overrides, before and after), each rule is judged by itself: one
that denies, or that requires where nothing is denied by default, makes a guardrail stricter when it comes, and looser
when it goes; one that allows does nothing unless the default is to deny. A rule of the same name is judged part by part
as the schema says: matching more is stricter.

Where the first match decides, any change of the rules may let something through that was refused; so may a change of
how they are combined. Nobody can tell, which is unclear. Where there was no rule before, any rule only refuses more.

Not here: fields outside of rules (`_direction`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import DocumentMeaning

_SPEC: Final = "spec"
_RULES: Final = (_SPEC, "rules")
_COMBINE: Final = (_SPEC, "combine")
_NAME_AT: Final = len(_RULES)
_TURNED: Final = {"stricter": "looser", "looser": "stricter"}
_ALLOW, _REQUIRE, _DENY = "allow", "require", "deny"


def is_of_rules(document: DocumentMeaning, path: tuple[str | int, ...]) -> bool:
    """Say whether a field is one of a guardrail's rules, or says which of them decides."""
    return document.kind == "Guardrail" and (path[: len(_RULES)] == _RULES or path == _COMBINE)


def rule_change(old: DocumentMeaning, new: DocumentMeaning, path: tuple[str | int, ...]) -> str | None:
    """Say which way a field of a rule leads: stricter, looser, neutral, unclear; None: what the schema says of it."""
    sides = old.leaves, new.leaves
    if not any(each[: len(_RULES)] == _RULES for each in old.leaves):
        return "stricter" if path[-1] == "then" else "neutral"
    if any(_word(each, "combine") != "deny-overrides" for each in sides):
        return "unclear"
    if len(path) == _NAME_AT or path[_NAME_AT + 1 :] == ("name",):
        return "neutral"  # the order of rules decides nothing where any rule that denies does
    defaults = {_word(each, "default") for each in sides}
    before, after = (_word(each, "rules", path[_NAME_AT], "then") for each in sides)
    if defaults == {_ALLOW}:  # a rule that allows is then as good as none
        before, after = (None if each == _ALLOW else each for each in (before, after))
    return _of_rule((before, after), defaults, path[_NAME_AT + 1 :])


def _of_rule(
    effects: tuple[str | None, str | None], defaults: set[str | None], part: tuple[str | int, ...]
) -> str | None:
    """Judge one field of one rule by what the rule does, before and after; None is no rule."""
    before, after = effects
    if before is None or after is None:
        found = _alone(before or after, defaults)
        if part != ("then",):
            return found if found == "unclear" else "neutral"
        return found if before is None else _TURNED.get(found, found)
    if part == ("then",):
        return None
    if part[:1] == ("require",):
        return "neutral" if _DENY in effects else None  # where nothing passes, nothing is asked for
    strict = effects == (_DENY, _DENY) or (_ALLOW not in effects and defaults == {_ALLOW})
    return None if strict else "unclear"


def _alone(effect: str | None, defaults: set[str | None]) -> str:
    """Say which way it leads that there is a rule with an effect."""
    if effect is None:
        return "neutral"
    if effect == _DENY:
        return "stricter"
    if defaults == {_ALLOW}:
        return "stricter" if effect == _REQUIRE else "neutral"
    return "looser" if defaults == {_DENY} and effect == _ALLOW else "unclear"


def _word(leaves: Mapping[tuple[str | int, ...], object], *path: str | int) -> str | None:
    """Give the word of a field; of one that stands on a ladder of words, the highest it reaches."""
    value = leaves.get((_SPEC, *path))
    if isinstance(value, list) and value:
        value = value[-1]
    return value if isinstance(value, str) else None
