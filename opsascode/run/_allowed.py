"""Who allowed the policy pack that a receipt says was applied? Told from that one file, offline.

The receipt of an applied pack carries what people signed and every version of the trust root. Each step is counted
again: by the keys of the trust root that ruled it, from the signatures themselves. What the machine that applied it
wrote about people is compared with that, and never believed.

Not here: the proof that the record is in a ledger (`proof`), and whether the classes of a step were found rightly,
which needs the Git objects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError
from opsascode.policy import (
    Asked,
    Change,
    TransitionClass,
    hear_all,
    needs_of,
    tally,
)
from opsascode.proof import read_chain, sha256_digest
from opsascode.run._packs import POLICY_APPLY, AppliedPack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.proof import Json, ReceiptVerdict, TrustChain
    from opsascode.run._packs import Step

_TRUST: Final = "trust/"
_STATEMENTS: Final = "attestations/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a receipt shows about one applied pack, in sentences, and what does not hold."""

    facts: tuple[str, ...]
    faults: tuple[str, ...]


def allowances(verdict: ReceiptVerdict, *, pin: str | None) -> tuple[Allowance, ...]:
    """Count again who allowed each applied pack of a receipt; `pin` is the trust root that is believed, if known."""
    files = {each.name: each.data for each in verdict.attachments}
    return tuple(
        _allowance(dict(proven.record.statement.predicate), files, pin)
        for proven in verdict.records
        if proven.record.statement.predicate_type == POLICY_APPLY
    )


def _allowance(predicate: Mapping[str, Json], files: Mapping[str, bytes], pin: str | None) -> Allowance:
    try:
        pack = AppliedPack.of(predicate)
        roots = [data for name, data in sorted(files.items(), key=_number) if name.startswith(_TRUST)]
        chain = read_chain(roots, pin=pin)
        envelopes = [data for name, data in files.items() if name.startswith(_STATEMENTS)]
        facts, faults = [*_about_root(pack, chain, pin)], list[str]()
        if chain.repository != pack.repository or chain.at(pack.root_version).digest != pack.root_digest:
            faults.append("the trust root in this receipt is not the one that the record names")
        for step in pack.steps:
            told, wrong = _count(step, chain, pack, envelopes)
            facts += told
            faults += wrong
    except OpsError as error:
        return Allowance(facts=(), faults=(str(error),))
    return Allowance(facts=tuple(facts), faults=tuple(faults))


def _about_root(pack: AppliedPack, chain: TrustChain, pin: str | None) -> Iterator[str]:
    believed = "the one that is believed here" if pin else "NOT compared with a pin: ask somebody who knows its digest"
    yield f"policy pack {pack.pack}, applied {pack.applied:%Y-%m-%d %H:%M:%S} UTC on {pack.ref}"
    yield f"  scope {pack.pack.scope}"
    yield f"  trust root {chain.repository}, version {pack.root_version}, {believed}"


def _count(step: Step, chain: TrustChain, pack: AppliedPack, envelopes: Sequence[bytes]) -> tuple[list[str], list[str]]:
    """Count one step again from what was signed."""
    change = Change.of(dict(step.change))
    if change.id != step.change_id or change.repository != chain.repository:
        return [], ["a step of the record is about another change than it says"]
    ruling = chain.at(change.root_version)
    if ruling.digest != change.root_digest:
        return [], ["a step was ruled by another trust root than the one in this receipt"]
    asked = Asked.of(
        change,
        ruling.root,
        since=frozenset(each for each in (step.since, change.base_commit) if each),
        effects=step.effects,
        used=frozenset(),
        now=pack.applied,
    )
    mine = [each for each in envelopes if sha256_digest(each) in step.envelopes]
    says, unheard = hear_all(asked, mine)
    needs = needs_of(ruling.root, frozenset(map(TransitionClass, change.classes)))
    needs = replace(needs, threshold=max(needs.threshold, step.needed))
    count = tally(needs, ruling.root, says, {})
    classes = " and ".join(change.classes)
    facts = [f"  {classes}: change {change.id}"]
    facts += [f"    found {each}" for each in step.evidence]
    facts += [f"    proposed by {count.proposer.person}"] if count.proposer else []
    facts += [f"    allowed by {each.person} ({each.role}): {each.digest}" for each in count.counted]
    if not count.counted and needs.role is None:
        facts.append("    needed nobody's approval, as the trust root says")
    faults = [f"{each.code}: {each.message}" for each in unheard]
    if not count.enough:
        faults.append(f"only {len(count.counted)} of the {needs.threshold} needed are shown to have allowed it")
    if [each.person for each in count.counted] != list(step.approved_by):
        faults.append("the record names other people than those who signed")
    return facts, faults


def _number(item: tuple[str, bytes]) -> tuple[int, str]:
    """Order `trust/10.root.json` behind `trust/9.root.json`."""
    digits = item[0].removeprefix(_TRUST).partition(".")[0]
    return int(digits) if digits.isdecimal() else 0, item[0]
