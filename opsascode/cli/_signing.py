"""With which key does a person sign here, and how is it done?

`ssh-keygen -Y sign` signs: with a key file (it asks for the passphrase), with ssh-agent when only the public half lies
here, or with a security key (it asks for the touch). No private key is read by this process. What comes back is
verified before anybody else sees it.

Not here: what is signed (`policy`), and whose key it is (`repo`).
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import at_terminal, escape_line
from opsascode.errors import ExitCode, OpsError, ProofError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opsascode.cli._context import Face
    from opsascode.policy import Answer
    from opsascode.proof import PersonKey, Statement
    from opsascode.repo import People, Person
    from opsascode.run import AskRequest

_PLACES: Final = ("/usr/bin", "/usr/local/bin", "/bin", "/opt/homebrew/bin", "/run/current-system/sw/bin")
_PASSED_ON: Final = (
    "HOME", "TERM", "LANG", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE", "SSH_SK_PROVIDER",
)  # fmt: skip
_ASKING_SECONDS: Final = 300
_LISTING_SECONDS: Final = 20


class NotAllowedError(OpsError):
    """Somebody cannot answer a request."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAtHand:
    """A key that can sign here: in a file (its public or private half), or in ssh-agent alone."""

    key: PersonKey
    place: str
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """A person, and the key they sign with."""

    person: Person
    at_hand: KeyAtHand


def choose_signatory(people: People, request: AskRequest, *, name: str | None, file: Path | None) -> Signatory:
    """Find who answers a request, with what: as far as it was not said, by what is at hand here.

    Raises:
        NotAllowedError: the person cannot answer this.
        UsageError: nobody, or more than one person, can sign here.
    """
    return choose_person(people, lambda person: why_not(people, request, person), name=name, file=file)


def choose_person(
    people: People, objection: Callable[[Person], str], *, name: str | None, file: Path | None
) -> Signatory:
    """Find who signs, with what: as far as it was not said, by what is at hand here.

    `objection` says why what a person signs would not count, or nothing when it would.

    Raises:
        NotAllowedError: what the person signs would not count.
        UsageError: nobody, or more than one person, can sign here.
    """
    wanted = None if name is None else people.person(name)
    if name is not None and wanted is None:
        raise UsageError(f"the trust root knows no {name}", advice=f"it knows {_ids(people.persons)}")
    at_hand = [_key_in(file, people)] if file is not None else list(keys_at_hand())
    found = [
        Signatory(person=person, at_hand=each)
        for person in ((wanted,) if wanted else people.persons)
        for each in at_hand
        if each.key.raw in {key.raw for key in person.keys}
    ]
    if not found:
        raise _no_key(wanted, file)
    able = [each for each in found if not objection(each.person)]
    if not able:
        raise NotAllowedError(objection(found[0].person), advice="ask somebody else to sign")
    persons = {each.person.id for each in able}
    if len(persons) > 1:
        raise UsageError(f"keys of {', '.join(sorted(persons))} are here", advice="say who you are: --as PERSON")
    return able[0]


def consent(
    face: Face, signatory: Signatory, verb: str, *, reason: str = "", declines: bool = False, yes: bool = False
) -> str | None:
    """Say who signs, with what, and ask them; gives the reason they sign with, or None where they would rather not.

    Raises:
        UsageError: nobody is here to ask, a refusal has no reason, or the reason is too long.
    """
    from opsascode.policy import MAX_REASON  # noqa: PLC0415 - keeps --help quick

    person, key = signatory.person, signatory.at_hand
    if not face.json:
        who = f"{person.id} ({escape_line(person.name)})"
        click.echo(f"\n{verb} as {who} with {key.key.keyid} ({escape_line(key.place)})")
    if declines and not reason:
        if yes or not at_terminal():
            raise UsageError("a refusal needs a reason", advice="--decline --reason TEXT")
        reason = click.prompt("Reason")
    if len(reason) > MAX_REASON:
        raise UsageError(f"a reason of {len(reason)} characters, and {MAX_REASON} is the most")
    if not yes and not at_terminal():
        raise UsageError("nobody is here to ask whether this shall be signed", advice="look at it, then say -y")
    if yes or click.confirm(f"{verb} this?", default=False):
        return reason
    click.echo("not confirmed: nothing was signed", err=True)
    return None


def may_answer(people: People, request: AskRequest, person: Person) -> bool:
    """Say whether the answer of a person could count."""
    return not why_not(people, request, person)


def why_not(people: People, request: AskRequest, person: Person) -> str:
    """Say why the answer of a person cannot count, or nothing when it can."""
    role = request.ask.role
    if not person.has_role(role):
        return f"{person.id} does not have the role {role or 'run-approver'}"
    accounts = [each for each in (request.requester, *request.aliases) if each]
    if any(person in people.behind(account) for account in accounts):
        return f"{person.id} started this, and cannot approve it"
    return ""


def sign_answer(request: AskRequest, signatory: Signatory, decision: Answer, reason: str) -> bytes:
    """Let a person sign their answer to a request; the run id is empty for a plan that was not started.

    Raises:
        UsageError: the person did not sign.
        ProofError: what came back is no good signature of this key.
    """
    from opsascode.policy import MAX_LIFETIME, Approval  # noqa: PLC0415 - keeps --help quick

    now = datetime.now(UTC).replace(microsecond=0)
    approval = Approval(
        person=signatory.person.id,
        decision=decision,
        reason=reason,
        plan=request.plan_digest,
        stage=request.ask.stage,
        run=request.run or None,
        repository=request.repository,
        role=request.ask.role,
        requester=request.requester or None,
        issued=now,
        expires=now + min(request.ask.lifetime, MAX_LIFETIME, timedelta(hours=72)),
        nonce=secrets.token_hex(16),
    )
    return sign_statement(approval.statement(), signatory.at_hand)


def sign_statement(statement: Statement, at_hand: KeyAtHand, *, onto: bytes | None = None) -> bytes:
    """Let a person sign a statement; the signature is added to those of an envelope `onto` that holds it already.

    Raises:
        UsageError: the person did not sign.
        ProofError: what came back is no good signature of this key, or the envelope holds something else.
    """
    from opsascode.proof import PAYLOAD_TYPE, add_signature, pre_authentication, statement_payload  # noqa: PLC0415 - keeps --help quick

    payload = statement_payload(statement)
    signature = _signature(at_hand, pre_authentication(PAYLOAD_TYPE, payload))
    return add_signature(onto, payload, at_hand.key.keyid, signature)


def _signature(at_hand: KeyAtHand, message: bytes) -> bytes:
    """Have `ssh-keygen -Y sign` sign; the message is a file, so that it can ask for a passphrase at the terminal."""
    from opsascode.proof import APPROVAL_NAMESPACE, CodedProofError, dearmor  # noqa: PLC0415 - keeps --help quick

    with tempfile.TemporaryDirectory(prefix="opsascode-") as scratch:
        written, key_file = Path(scratch, "approval"), at_hand.file
        written.write_bytes(message)
        if key_file is None:
            key_file = Path(scratch, "key.pub")
            key_file.write_text(at_hand.key.openssh() + "\n")
        words = [_program("ssh-keygen"), "-Y", "sign", "-f", str(key_file), "-n", APPROVAL_NAMESPACE, str(written)]
        told = _run(words, seconds=_ASKING_SECONDS, heard=at_hand.key.on_token)
        made = Path(f"{written}.sig")
        if told.returncode or not made.exists():
            lines = [line for line in (told.stderr or b"").decode(errors="replace").splitlines() if line.strip()]
            raise UsageError(f"ssh-keygen did not sign: {lines[-1] if lines else f'it ended with {told.returncode}'}")
        signature = dearmor(made.read_bytes())
    fault = at_hand.key.fault(message, signature)
    if fault is not None:
        raise CodedProofError(fault.code, f"what ssh-keygen signed is not good: {fault.message}")
    return signature


def keys_at_hand() -> Iterator[KeyAtHand]:
    """Give the keys of `~/.ssh` and of ssh-agent, each once."""
    seen: set[bytes] = set()
    for file in sorted(Path.home().glob(".ssh/*.pub")):
        key = _public_key(file)
        if key is not None and key.raw not in seen:
            private = file.with_suffix("")
            seen.add(key.raw)
            yield KeyAtHand(key=key, place=str(file), file=private if private.exists() else file)
    for key, _, _ in agent_keys():
        if key.raw not in seen:
            seen.add(key.raw)
            yield KeyAtHand(key=key, place="ssh-agent")


def agent_keys() -> Iterator[tuple[PersonKey, str, str]]:
    """Give the keys of ssh-agent that can be used, each with its comment and its whole line."""
    if "SSH_AUTH_SOCK" not in os.environ:
        return
    told = _run([_program("ssh-add"), "-L"], seconds=_LISTING_SECONDS)
    for line in told.stdout.decode(errors="replace").splitlines():
        key = _key_of(line)
        if key is not None:
            yield key, " ".join(line.split()[2:]), line


def _key_in(file: Path, people: People) -> KeyAtHand:
    """Find which key a file holds, by its public half or, without one, by its fingerprint.

    Raises:
        UsageError: the file holds no key of a person.
    """
    public = file if file.suffix == ".pub" else file.with_name(file.name + ".pub")
    key = _public_key(public)
    if key is None and file.is_file():
        told = _run([_program("ssh-keygen"), "-l", "-f", str(file)], seconds=_LISTING_SECONDS)
        fingerprints = told.stdout.decode(errors="replace").split()
        key = next((each for each in people.keys if each.keyid in fingerprints), None)
    if key is None:
        raise UsageError(f"{file} holds no key that the trust root lists", advice="use a key file, or its .pub file")
    return KeyAtHand(key=key, place=str(file), file=file)


def _public_key(file: Path) -> PersonKey | None:
    try:
        return _key_of(file.read_text())
    except (OSError, UnicodeDecodeError):
        return None


def _key_of(line: str) -> PersonKey | None:
    from opsascode.proof import PersonKey  # noqa: PLC0415 - keeps --help quick

    try:
        return PersonKey.from_openssh(line)
    except ProofError:
        return None  # a key of another type, or no key: none that signs approvals


def _no_key(person: Person | None, file: Path | None) -> UsageError:
    whose = f"of {person.id}" if person else "that the trust root lists"
    if file is not None:
        return UsageError(f"{file} is no key {whose}")
    return UsageError(
        f"no key {whose} is in ~/.ssh or ssh-agent", advice="use --key FILE, or ssh-add it; a .pub file is enough then"
    )


def _ids(persons: tuple[Person, ...]) -> str:
    return ", ".join(each.id for each in persons[:20])


def _program(name: str) -> str:
    """Give a program of OpenSSH by its absolute path: a search along PATH could find another one."""
    for place in _PLACES:
        found = Path(place, name)
        if os.access(found, os.X_OK):
            return str(found)
    raise UsageError(f"{name} is not installed", advice=f"it is looked for in {', '.join(_PLACES)}")


def _run(words: list[str], *, seconds: float, heard: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run a program of OpenSSH; `heard` lets it speak to the person, as it must when it waits for a touch."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        return subprocess.run(  # noqa: S603 - absolute program, fixed words and paths, an environment of few names
            words,
            env={"PATH": os.defpath, **environment},
            stdout=subprocess.PIPE,
            stderr=None if heard else subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{Path(words[0]).name} gave no answer within {seconds:.0f} seconds") from None
