"""Which runbooks of the repository may a pattern, a label or a scope mean?

Not here: which plans a rule matches (`_rule_match`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from opsascode.repo import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo import Runbook


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookSet:
    """The runbooks by their names, and what was asked about them before."""

    by_name: Mapping[str, Runbook]
    _matching: dict[str, frozenset[str]] = field(default_factory=dict)
    _labelled: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _near: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, runbooks: Sequence[Runbook]) -> RunbookSet:
        """Take runbooks in."""
        return cls(by_name={each.name: each for each in runbooks})

    def matching(self, pattern: str) -> frozenset[str]:
        """Give the names that a pattern with * and ? matches."""
        if pattern not in self._matching:
            self._matching[pattern] = frozenset(each for each in self.by_name if fnmatchcase(each, pattern))
        return self._matching[pattern]

    def near(self, name: str) -> str:
        """Suggest the runbook that a mistyped name may mean; empty where none is near."""
        if name not in self._near:
            self._near[name] = did_you_mean(name, self.by_name, list_up_to=0)
        return self._near[name]

    def labelled(self, key: str, value: str) -> frozenset[str]:
        """Give the names of the runbooks that have a label."""
        if (key, value) not in self._labelled:
            self._labelled[key, value] = frozenset(
                name for name, each in self.by_name.items() if each.metadata.labels.get(key) == value
            )
        return self._labelled[key, value]

    def values(self, key: str) -> frozenset[str]:
        """Give all values that a label has."""
        return frozenset(each.metadata.labels[key] for each in self.by_name.values() if key in each.metadata.labels)

    def meant(self, patterns: Sequence[str], labels: Mapping[str, str]) -> frozenset[str]:
        """Give the names that any of the patterns matches (all where there is none) and that have all labels."""
        names = frozenset(self.by_name)
        if patterns:
            names = frozenset().union(*(self.matching(each) for each in patterns))
        for key, value in labels.items():
            names &= self.labelled(key, value)
        return names
