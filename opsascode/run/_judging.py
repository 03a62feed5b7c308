"""What would it mean to move the policy pack from one commit to another, and may it be done?

Gathers from Git objects what the pure judgement of `policy` looks at: both packs, everything the old one superseded,
who wrote the commits in between, and the trust root as the *old* commit has it. The same for a pull request, a push to
a server, and the runner that applies. Several transitions that were each allowed make a way; a range that was approved
as one is one step of it.

Not here: the rules (`policy`), what is recorded (`_apply`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from opsascode.policy import Candidate, Decision, Identities, OldState, Trust, change_of, classify, decide
from opsascode.proof import read_chain
from opsascode.repo import EMPTY_SNAPSHOT, Past, gather_past, load_mapping, static_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import Change, Classification, Debt
    from opsascode.proof import TrustChain
    from opsascode.repo import CommitFacts, ObjectStore, Snapshot

_POLICIES: Final = "policies/"
_DEFAULT_INVENTORY: Final = ("inventories",)
_STEPS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What this place remembers of earlier transitions; a server or a pull request's check remembers nothing.

    `least` is the lowest version of the trust root that may still be met, `newest` the commit that was applied last.
    """

    least: int = 1
    newest: str | None = None
    consumed: frozenset[str] = frozenset()
    debts: tuple[Debt, ...] = ()
    seen_roots: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A transition with everything it was judged by."""

    old: OldState
    new: Candidate
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionJudge:
    """Judges transitions of one repository; `attestations` gives what people signed about a change, untrusted.

    `accounts` are those of whoever pushes, opens or starts; `pin` is the digest of the first trust root; `cache` a
    directory for what can be made again.
    """

    store: ObjectStore
    pin: str | None
    now: datetime
    attestations: Callable[[Change], Sequence[bytes]]
    accounts: tuple[str, ...] = ()
    memory: Memory = field(default_factory=Memory)
    cache: Path | None = None

    def chain(self, commit: str) -> TrustChain:
        """Give the trust root and its history as a commit has them.

        Raises:
            ProofError: it has none, or not the pinned one.
        """
        return chain_of_snapshot(self.store.snapshot(commit, ()), pin=self.pin)

    def gather(self, old: str | None, new: str, *, ref: str | None = None) -> tuple[OldState, Candidate]:
        """Collect what a judgement looks at; without an `old` commit nothing was applied yet."""
        chain = self.chain(old or new)
        root = chain.current.root
        protected = root.protected
        before = self.store.snapshot(old, protected) if old else EMPTY_SNAPSHOT
        after = self.store.snapshot(new, protected, beside=before)
        past = Past()
        if old:
            past = gather_past(
                self.store,
                old,
                protected,
                after,
                window=root.rollback_window,
                now=self.now,
                index=self._index(chain.repository),
            )
        moved = old is not None and _beside_policies(before) != _beside_policies(after)
        state = OldState(
            commit=old,
            snapshot=before,
            past=past,
            chain=chain,
            groups=self._groups(before) if moved else {},
            since=self.store.unchanged_since(old, protected) if old else (),
        )
        candidate = Candidate(
            commit=new,
            snapshot=after,
            descends=old is None or self.store.is_ancestor(old, new),
            groups=self._groups(after) if moved else {},
            identities=self._identities(old, new),
            ref=ref or root.ref,
            seen_before=self._seen_before(old, new),
        )
        return state, candidate

    def judge(self, old: str | None, new: str, *, ref: str | None = None) -> Judgement:
        """Judge one transition.

        Raises:
            ProofError: the trust root that comes is behind what was met before.
        """
        state, candidate = self.gather(old, new, ref=ref)
        # What comes may not be behind; what is there, and what lies on the way, may be.
        chain_of_snapshot(candidate.snapshot, pin=self.pin, least=self.memory.least)
        return self._decide(state, candidate, classify(state, candidate))

    def again(self, judgement: Judgement) -> Judgement:
        """Judge the same transition by what people have signed until now; nothing else is looked at anew."""
        return self._decide(judgement.old, judgement.new, judgement.decision.classification)

    def _judge(self, old: str, new: str) -> Judgement:
        state, candidate = self.gather(old, new)
        return self._decide(state, candidate, classify(state, candidate))

    def _decide(self, old: OldState, new: Candidate, found: Classification) -> Judgement:
        signed = tuple(self.attestations(change_of(old, new, found)))
        decision = decide(self.trust(old, new, found), old, new, found, signed, self.now)
        return Judgement(old=old, new=new, decision=decision)

    def trust(self, old: OldState, new: Candidate, classification: Classification) -> Trust:
        """Give what this place knows by itself."""
        return Trust(
            chain=old.chain,
            consumed=self.memory.consumed,
            debts=self.memory.debts,
            announced=self._announced(new, classification),
        )

    def way(self, old: str | None, tip: str) -> tuple[Judgement, ...]:
        """Find allowed transitions that lead from one commit to the other; the last may be the refusal it ends at."""
        whole = self.judge(old, tip)
        if whole.decision.allowed or old is None or not whole.new.descends:
            return (whole,)
        stops = (old, *self._stops(old, tip))
        if not 2 < len(stops) <= _STEPS:  # noqa: PLR2004 - one step, which was judged already
            return (whole,)
        judge, found, at = self, list[Judgement](), 0
        while at < len(stops) - 1:
            further = (*range(at + 1, at + 2), *range(len(stops) - 1, at + 1, -1))
            tried = [(to, judge._judge(stops[at], stops[to])) for to in further[:1]]
            if not tried[0][1].decision.allowed:
                tried += [(to, judge._judge(stops[at], stops[to])) for to in further[1:]]
            allowed = next(((to, each) for to, each in tried if each.decision.allowed), None)
            if allowed is None:
                return (*found, tried[0][1])
            at = allowed[0]
            found.append(allowed[1])
            used = judge.memory.consumed | frozenset(allowed[1].decision.consumed)
            judge = replace(judge, memory=replace(judge.memory, consumed=used))
        return tuple(found)

    def _stops(self, old: str, tip: str) -> tuple[str, ...]:
        """Name the commits on the first-parent way where protected content moved, the tip for the last of them."""
        root = self.chain(old).current.root
        return self.store.changed_by(tip, old, root.protected)

    def _index(self, repository: str) -> Path | None:
        return self.cache / f"past-{repository.removeprefix('sha256:')[:16]}.sqlite" if self.cache else None

    def _identities(self, old: str | None, new: str) -> Identities:
        between = self.store.commits(new, old) if old else self._last_change(new)
        emails = dict.fromkeys(each for commit in between for each in (commit.author.email, commit.committer.email))
        return Identities(emails=tuple(emails), accounts=self.accounts)

    def _last_change(self, new: str) -> tuple[CommitFacts, ...]:
        """Give the commits that last changed anything protected: whoever made them is behind a first pack."""
        last = self.store.unchanged_since(new, self.chain(new).current.root.protected)[0]
        return self.store.commits(last, next(iter(self.store.facts(last).parents), None))

    def _seen_before(self, old: str | None, new: str) -> bool:
        """Whether this place has applied something newer already (R9)."""
        newest = self.memory.newest
        return newest is not None and new not in {newest, old} and self.store.is_ancestor(new, newest)

    def _announced(self, candidate: Candidate, classification: Classification) -> datetime | None:
        """Tell when a trust root that comes with this transition was first met here."""
        if not any(each.value == "trust" for each in classification.classes):
            return None
        chain = chain_of_snapshot(candidate.snapshot, pin=self.pin)
        return self.memory.seen_roots.get(chain.current.digest)

    def _groups(self, snapshot: Snapshot) -> Mapping[str, frozenset[str]] | None:
        return static_groups(snapshot.files, inventory_sources(snapshot))


def chain_of_snapshot(snapshot: Snapshot, *, pin: str | None, least: int = 1) -> TrustChain:
    """Give the trust root that a pack carries, and its history.

    Raises:
        ProofError: it has none, not the pinned one, or an older one than was met before.
    """
    return read_chain([each.strip() for each in snapshot.trust_envelopes()], pin=pin, least=least)


def _beside_policies(snapshot: Snapshot) -> dict[str, str]:
    """Name everything that could say which hosts there are, and in which groups."""
    return {path: file.digest for path, file in snapshot.files.items() if not path.startswith(_POLICIES)}


def inventory_sources(snapshot: Snapshot) -> tuple[str, ...]:
    """Tell which inventories a commit's own settings name."""
    settings = snapshot.files.get("opsascode.yml")
    spec = load_mapping(settings.data, "opsascode.yml").get("spec") if settings else None
    said = spec.get("inventory") if isinstance(spec, dict) else None
    if isinstance(said, str):
        return (said,)
    return tuple(str(each) for each in said) if isinstance(said, list) else _DEFAULT_INVENTORY
