"""May this push be taken, ref by ref, and what is whoever pushes told?

A ref is protected when it is the one that the pinned trust root at its own tip names. It cannot be deleted, and moves
only as its judge allows; where it comes into being, it must bring the pinned trust root. A ref whose trust root cannot
be believed although it claims to protect this very ref stays where it is. The refs of opsascode only grow. Every other
ref is free. All of a push is taken, or nothing.

Who pushes is what the transport says, and the key of a signed push or of the SSH login, as far as the trust root knows
it: such a person is left out of those who approve. It never counts anybody in.

Not here: whether a transition is allowed (`run`, `policy`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, stamp
from opsascode.errors import ExitCode, OpsError, ProofError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.policy import Change, Decision
    from opsascode.proof import TrustRoot
    from opsascode.repo import ObjectStore, Push, RefUpdate
    from opsascode.run import Judgement, TransitionJudge

_PREFIX: Final = "opsascode: "
_WIDTH: Final = 100
_FINDINGS_SHOWN: Final = 10
_ROOTS_REMEMBERED: Final = 100
_MAY_BE_REWRITTEN: Final = ("refs/opsascode/ledger",)
_KEY: Final = re.compile("SHA256:[A-Za-z0-9+/]{43}")
_PROVEN: Final = frozenset({"G", "U"})
_FRESH: Final = frozenset({"OK", "SLOP"})
_MAX_SMALL_FILE: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guard:
    """A trust root that may protect a ref, or why it cannot be believed."""

    root: TrustRoot | None = None
    trouble: OpsError | None = None


@dataclass(kw_only=True)
class _Receiver:
    """One push, and what is needed to judge it."""

    push: Push
    pin: str
    environ: Mapping[str, str]
    now: datetime
    known: dict[str, _Guard] = field(default_factory=dict)
    claims: dict[str, frozenset[str] | None] = field(default_factory=dict)

    @cached_property
    def store(self) -> ObjectStore:
        from opsascode.repo import ObjectStore  # noqa: PLC0415 - most pushes touch nothing protected

        return ObjectStore.of(self.push.directory, quarantine=self.push.quarantine)

    @cached_property
    def trees(self) -> Mapping[str, str]:
        return self.push.trust_trees()

    @property
    def place(self) -> Path:
        """Where what this server remembers lies."""
        return self.push.directory / "opsascode"

    def refusals(self) -> Iterator[str]:
        """Give the lines of everything that stands against the push."""
        for update in self.push.updates:
            yield from self._own(update) if self._is_own(update) else self._guarded(update)

    def _is_own(self, update: RefUpdate) -> bool:
        from opsascode.repo import OWN_REFS  # noqa: PLC0415 - keeps --help quick

        return update.ref.startswith(OWN_REFS)

    def _own(self, update: RefUpdate) -> Iterator[str]:
        why = self.push.shrinking(update, rewritten=update.ref in _MAY_BE_REWRITTEN)
        if why:
            yield from _refusal(update.ref, "E_REF", f"it only grows, and {why}", "fetch it, add to it, push again")

    def _guarded(self, update: RefUpdate) -> Iterator[str]:
        """Judge a ref if it is protected, by its own tip where it has one with a trust root, else by what arrives."""
        before = self._guard(update.old, update.ref)
        guard = before or self._guard(update.new, update.ref)
        if guard is None:
            return
        if guard.trouble is not None:
            yield from _trouble(update.ref, guard.trouble)
        elif update.new is None:
            yield from _refusal(update.ref, "E_REF", "it is protected, and cannot be deleted", "")
        elif before is not None and update.old is not None:
            yield from self._judged(update.ref, update.old, update.new, guard)
        else:
            click.echo(f"{_PREFIX}{update.ref} is protected from now on by the trust root {self.pin}", err=True)

    def _guard(self, commit: str | None, ref: str) -> _Guard | None:
        """Give the trust root of a commit if it protects a ref, or may do so and cannot be believed."""
        tree = self.trees.get(commit) if commit is not None else None
        if commit is None or tree is None or not self._claims(tree, ref):
            return None
        if tree not in self.known:
            self.known[tree] = self._read_guard(commit)
        found = self.known[tree]
        return found if found.root is None or found.root.ref == ref else None

    def _claims(self, tree: str, ref: str) -> bool:
        """Tell whether any version of a trust root says it protects a ref, unverified: few branches need more."""
        if tree not in self.claims:
            self.claims[tree] = _claimed(self.push.trust_files(tree))
        claims = self.claims[tree]
        return claims is None or ref in claims

    def _read_guard(self, commit: str) -> _Guard:
        try:
            name = self.store.commit_of(commit) or commit
            return _Guard(root=self.judge(None).chain(name).current.root)
        except OpsError as error:
            return _Guard(trouble=error)

    def _judged(self, ref: str, old: str, new: str, guard: _Guard) -> Iterator[str]:
        try:
            commit = self.store.commit_of(new) or new
            last = self.judge(guard.root).way(old, commit)[-1]
        except OpsError as error:
            yield from _trouble(ref, error)
            return
        if last.decision.allowed:
            return
        yield from _decision_lines(ref, last.decision)
        if any(fault.code == "E_COOL_DOWN" for fault in last.decision.faults):
            self._remember(last)

    def judge(self, root: TrustRoot | None) -> TransitionJudge:
        from opsascode.run import Memory, TransitionJudge  # noqa: PLC0415 - most pushes touch nothing protected

        return TransitionJudge(
            store=self.store,
            pin=self.pin,
            now=self.now,
            attestations=self.attestations,
            accounts=_accounts(self.environ, root),
            memory=Memory(seen_roots=self._seen_roots()),
            cache=self._cache(),
        )

    def attestations(self, change: Change) -> Sequence[bytes]:
        """Give what people signed about a change, with what this very push brings."""
        from opsascode.repo import ATTESTATIONS_REF, Attestations  # noqa: PLC0415 - see above

        brought = next((each.new for each in self.push.updates if each.ref == ATTESTATIONS_REF), None)
        found = Attestations.of_bare(self.push.directory, quarantine=self.push.quarantine, commit=brought)
        return found.of_change(change.target_scope)

    def _cache(self) -> Path | None:
        """Give a directory of this account for what can be made again; a push is judged without one as well."""
        place = self.place / f"cache-{os.getuid()}"
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return None
        return place if os.access(place, os.W_OK | os.X_OK) else None

    def _seen_roots(self) -> dict[str, datetime]:
        """Tell when this server first met a looser trust root, which must wait from then on."""
        try:
            found = json.loads((self.place / "seen.json").read_bytes()[:_MAX_SMALL_FILE])
            return {str(key): datetime.fromisoformat(value) for key, value in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _remember(self, judgement: Judgement) -> None:
        from opsascode.run import chain_of_snapshot  # noqa: PLC0415 - few pushes come here

        digest = chain_of_snapshot(judgement.new.snapshot, pin=self.pin).current.digest
        seen = self._seen_roots()
        if digest in seen:
            return
        kept = dict(sorted({**seen, digest: self.now}.items(), key=lambda each: each[1])[-_ROOTS_REMEMBERED:])
        draft = self.place / f".seen.{os.getpid()}"
        try:
            draft.write_text(json.dumps({key: moment.isoformat() for key, moment in kept.items()}))
            draft.replace(self.place / "seen.json")
        except OSError as error:
            click.echo(f"{_PREFIX}this cannot be remembered in {self.place}: {error.strerror}", err=True)
        else:
            click.echo(f"{_PREFIX}first seen here at {stamp(self.now)}; push it again when the time is over", err=True)


def judge_push(pin: str, environ: Mapping[str, str], lines: bytes) -> int:
    """Judge what git handed to the hook; what is said goes to whoever pushes.

    Raises:
        OpsError: it cannot be judged, and so is not taken.
    """
    from opsascode.repo import Push  # noqa: PLC0415 - keeps --help quick

    receiver = _Receiver(push=Push.of(environ, lines), pin=pin, environ=environ, now=datetime.now(UTC))
    said = list(receiver.refusals())
    for line in said:
        click.echo("\n".join(_wrapped(line)), err=True)
    return ExitCode.REFUSED if said else ExitCode.DONE


def _claimed(files: Sequence[bytes] | None) -> frozenset[str] | None:
    """Name the refs that versions of a trust root say they protect; None when that cannot be told."""
    from opsascode.proof import read_unverified  # noqa: PLC0415 - keeps --help quick

    found: set[str] = set()
    for each in files or ():
        try:
            found.add(str(read_unverified(each.strip()).predicate.get("ref")))
        except ProofError:
            continue  # whoever reads the chain says what is wrong with it
    return None if files is None else frozenset(found)


def _accounts(environ: Mapping[str, str], root: TrustRoot | None) -> tuple[str, ...]:
    """Name who pushes: by the web server's login, by the login here, and by keys the trust root knows."""
    said = [environ.get(name, "") for name in ("REMOTE_USER", "USER", "LOGNAME")]
    with contextlib.suppress(KeyError):  # an account of this machine may have no name
        said.append(pwd.getpwuid(os.getuid()).pw_name)
    for keyid in _keys(environ):
        owner = root.owner(keyid) if root is not None else None
        said += [owner.id, *owner.accounts, *owner.emails] if owner is not None else []
    return tuple(dict.fromkeys(each for each in said if each and each.isprintable()))


def _keys(environ: Mapping[str, str]) -> Iterator[str]:
    """Name the keys whoever pushes has shown: that of a signed push, and that of the SSH login if sshd tells it."""
    key = environ.get("GIT_PUSH_CERT_KEY", "")
    proven = environ.get("GIT_PUSH_CERT_STATUS") in _PROVEN and environ.get("GIT_PUSH_CERT_NONCE_STATUS") in _FRESH
    if proven and _KEY.fullmatch(key):
        yield key
    told = environ.get("SSH_USER_AUTH")
    if told:
        yield from _login_keys(Path(told))


def _login_keys(place: Path) -> Iterator[str]:
    from opsascode.proof import PersonKey  # noqa: PLC0415 - keeps --help quick

    try:
        text = place.read_bytes()[:_MAX_SMALL_FILE].decode(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        method, _, key = line.partition(" ")
        if method == "publickey":
            try:
                yield PersonKey.from_openssh(key).keyid
            except ProofError:
                continue


def _decision_lines(ref: str, decision: Decision) -> Iterator[str]:
    """Say why a transition is not allowed: its classes, what was found, what does not count, what is missing."""
    classes = " and ".join(sorted(each.value for each in decision.classification.classes))
    codes = ", ".join(dict.fromkeys(fault.code for fault in decision.faults))
    yield f"{ref} is refused: a {classes} change{f' [{codes}]' if codes else ''}"
    findings = decision.classification.findings
    for finding in findings[:_FINDINGS_SHOWN]:
        yield f"  {finding.level.value}  {escape_line(finding.message)}"
    if len(findings) > _FINDINGS_SHOWN:
        yield f"  and {len(findings) - _FINDINGS_SHOWN} more"
    for fault in decision.faults[:_FINDINGS_SHOWN]:
        told = any(finding.message in fault.message for finding in findings)  # it stands above already
        yield f"  {fault.code}: {escape_line(fault.message.partition(': ')[0] if told else fault.message)}"
        if fault.mend:
            yield f"    {escape_line(fault.mend)}"
    yield f"  change {decision.change.id}"
    yield "  next: others look at this branch and sign, «opsascode approve BRANCH»; then push again"


def _trouble(ref: str, error: OpsError) -> Iterator[str]:
    code = getattr(error, "code", "")
    return _refusal(ref, str(code), error.message, error.advice)


def _refusal(ref: str, code: str, message: str, advice: str) -> Iterator[str]:
    yield f"{ref} is refused{f' [{code}]' if code else ''}: {escape_line(message)}"
    if advice:
        yield f"  {escape_line(advice)}"


def _wrapped(line: str) -> list[str]:
    """Break a line for a terminal, every part with the prefix: git writes `remote: ` in front of each."""
    indent = " " * (len(line) - len(line.lstrip()))
    broken = textwrap.wrap(
        line, _WIDTH, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False
    )
    return [f"{_PREFIX}{each}" for each in broken or [""]]
