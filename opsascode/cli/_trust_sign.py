"""`opsascode trust sign`: see what a version of the trust root changes, and sign it as a person.

What is shown is what is signed: it is computed from the file, held against the version that counts here. A signature is
only added to a version that lacks some, and only by somebody whose signature would count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from opsascode.cli._console import escape_line, wants_colour
from opsascode.cli._options import format_option
from opsascode.cli._signing import choose_person, consent, sign_statement
from opsascode.cli._trust import chain_before, file_of, read_version, shown_path, write_version
from opsascode.cli._trust_options import signing_options
from opsascode.cli._trust_text import change_lines, root_lines
from opsascode.errors import DocumentError, ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face
    from opsascode.cli._signing import Signatory
    from opsascode.cli._trust_options import RootWords
    from opsascode.proof import SignedRoot, TrustChain, TrustRoot
    from opsascode.repo import People, Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version to sign, the versions before it, where it will lie, and the envelope with what was signed so far."""

    root: TrustRoot
    before: TrustChain | None = None
    file: Path
    envelope: bytes | None = None


class SignWords(TypedDict):
    """What the command line says about who signs."""

    person: str | None
    key: Path | None
    yes: bool


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--with",
    "copies",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="COPY",
    help="Take over the signatures of another copy; with it, sign only where --as or --key is said.",
)
@signing_options
@format_option
@click.pass_obj
def sign(face: Face, /, file: Path | None, copies: Sequence[Path], **words: Unpack[SignWords]) -> int:
    """Sign a proposed version of the trust root [default: the one in policies/trust/ that lacks signatures]."""
    chosen = file or _open_file(face)
    draft, signed = _read(face, chosen)
    for copy in copies:
        draft, signed = _joined(face, draft, read_version(copy), str(copy))
    if not signed.missing:
        if copies:
            _write(draft)
        _tell(face, draft, signed)
        return ExitCode.DONE
    if copies and not (words["person"] or words["key"]):
        _write(draft)
        _tell(face, draft, signed)
        return ExitCode.DONE
    return sign_draft(face, draft, words)


def sign_draft(face: Face, draft: Draft, words: SignWords | RootWords) -> int:
    """Show a version, let a person sign it, keep it, and say what is missing still.

    Raises:
        DocumentError: it is no valid root; everything that is wrong is said.
        UsageError: nobody signs it.
    """
    _check(draft)
    before = () if draft.envelope is None else _signed(draft).signers
    people = _people(draft)
    signatory = choose_person(
        people, lambda each: _objection(draft, before, each), name=words["person"], file=words["key"]
    )
    _show(face, draft)
    if consent(face, signatory, "Sign", yes=words["yes"]) is None:
        return ExitCode.REFUSED
    envelope = sign_statement(draft.root.statement(), signatory.at_hand, onto=draft.envelope)
    made = Draft(root=draft.root, before=draft.before, file=draft.file, envelope=envelope)
    signed = _signed(made)
    _write(made)
    _tell(face, made, signed, by=signatory)
    return ExitCode.DONE


def _open_file(face: Face) -> Path:
    """Find the version that lacks signatures: the newest in the working tree."""
    from opsascode.repo import TRUST_FOLDER, trust_version  # noqa: PLC0415 - keeps --help quick

    folder = face.repository.root / TRUST_FOLDER
    listed = sorted(folder.iterdir()) if folder.is_dir() else []
    versions = [found for each in listed if (found := trust_version(f"{TRUST_FOLDER}/{each.name}"))]
    if not versions:
        raise UsageError(f"there is no trust root in {TRUST_FOLDER}", advice="make one: opsascode trust init")
    return file_of(face, max(versions))


def _read(face: Face, file: Path) -> tuple[Draft, SignedRoot]:
    """Read a version from a file and hold it against those before it."""
    from opsascode.proof import TrustRoot, read_unverified  # noqa: PLC0415 - keeps --help quick

    envelope = read_version(file)
    claimed = TrustRoot.of(read_unverified(envelope))
    before = chain_before(face, claimed.version)
    draft = Draft(root=claimed, before=before, file=file, envelope=envelope)
    return draft, _signed(draft)


def _signed(draft: Draft) -> SignedRoot:
    """Give a version with who signed it, whether enough did or not.

    Raises:
        ProofError: it cannot follow the versions before it, or nobody who may sign has.
    """
    from opsascode.proof import TrustChain, pending_root, read_chain  # noqa: PLC0415 - keeps --help quick

    before = draft.before or TrustChain(roots=())
    envelopes = [*(each.envelope for each in before.roots), draft.envelope or b""]
    return pending_root(envelopes, before) or read_chain(envelopes).current


def _joined(face: Face, draft: Draft, copy: bytes, name: str) -> tuple[Draft, SignedRoot]:
    """Take over the signatures of a copy, once they are known to be good."""
    from opsascode.proof import TrustRoot, join_signatures, payload_digest, read_unverified  # noqa: PLC0415 - keeps --help quick

    if draft.envelope is None or payload_digest(copy) != payload_digest(draft.envelope):
        raise UsageError(
            f"{name} is another version than {shown_path(face, draft.file)}",
            advice="sign the same one; if it was proposed again, everybody signs again",
        )
    _signed(Draft(root=TrustRoot.of(read_unverified(copy)), before=draft.before, file=draft.file, envelope=copy))
    envelope = join_signatures(draft.envelope, copy)
    made = Draft(root=draft.root, before=draft.before, file=draft.file, envelope=envelope)
    return made, _signed(made)


def _check(draft: Draft) -> None:
    """Refuse what is no valid root, saying everything that is wrong with it."""
    from opsascode.proof import root_faults  # noqa: PLC0415 - keeps --help quick

    faults = root_faults(draft.root)
    if faults:
        lines = "".join(f"\n    {each.message} [{each.code}]" for each in faults)
        raise DocumentError(f"this is no trust root that could be trusted:{lines}", advice="nothing was written")


def _people(draft: Draft) -> People:
    """Give everybody whose signature may count: of the version before, and of this one."""
    from opsascode.proof import KeyPurpose, payload_digest  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import People, people_of  # noqa: PLC0415 - likewise

    digest = payload_digest(draft.envelope) if draft.envelope else ""
    here = people_of(draft.root, digest, KeyPurpose.ROOT)
    if not draft.before or not draft.before.roots:
        return here
    newest = draft.before.current
    then = people_of(newest.root, newest.digest, KeyPurpose.ROOT)
    names = {each.id for each in then.persons}
    return People(
        persons=(*then.persons, *(each for each in here.persons if each.id not in names)),
        version=here.version,
        digest=digest,
    )


def _objection(draft: Draft, signers: tuple[str, ...], person: Person) -> str:
    """Say why a person's signature would not count."""
    from opsascode.proof import ROOT_ROLE  # noqa: PLC0415 - keeps --help quick

    roots = (draft.root, *((draft.before.current.root,) if draft.before and draft.before.roots else ()))
    if person.id in signers:
        return f"{person.id} has signed this already"
    if not any(person.id == each.id for root in roots for each in root.members(ROOT_ROLE)):
        return f"{person.id} does not have the role {ROOT_ROLE}"
    return ""


def _show(face: Face, draft: Draft) -> None:
    """Show what is signed."""
    if not face.json:
        first = not (draft.before and draft.before.roots)
        lines = root_lines(draft.root) if first or not draft.before else change_lines(draft.before, draft.root)
        click.echo("\n".join(lines), color=wants_colour())


def _write(draft: Draft) -> None:
    file = draft.file if draft.file.is_absolute() else Path.cwd() / draft.file
    write_version(file, draft.envelope or b"")


def _tell(face: Face, draft: Draft, signed: SignedRoot, *, by: Signatory | None = None) -> None:
    """Say who signed, who is missing, and what to do next."""
    path, version = shown_path(face, draft.file), signed.root.version
    if face.json:
        body = {
            "file": path,
            "version": version,
            "digest": signed.digest,
            "signed_by": by.person.id if by else None,
            "signers": list(signed.signers),
            "missing": signed.missing,
            "waits_for": list(signed.able),
            "complete": not signed.missing,
        }
        click.echo(json.dumps(body))
        return
    click.echo(f"\n{escape_line(path)}: version {version} of the trust root, signed by {', '.join(signed.signers)}")
    click.echo(f"digest {signed.digest}")
    if signed.missing:
        click.echo(f"not yet complete: {signed.missing}")
    for line in _next_steps(path, signed):
        click.echo(f"  {line}")


def _next_steps(path: str, signed: SignedRoot) -> list[str]:
    """Give the commands that come next."""
    version, branch = signed.root.version, signed.root.ref.removeprefix("refs/heads/")
    if signed.missing:
        return [
            f"next, each of them, with this file: opsascode trust sign    ({', '.join(signed.able)})",
            f"copies that were signed apart are joined: opsascode trust sign {path} --with COPY",
        ]
    commit = f"next: git add {path} && git commit -m 'Trust root {version}'    (on {branch}, with nothing else)"
    if version > 1:
        return [commit, "where packs are applied it counts once it is: opsascode policy apply"]
    return [
        commit,
        f"then, on each machine that approves or runs: opsascode trust pin {signed.digest}",
        "tell the digest by another way than Git: whoever pins another one trusts somebody else",
    ]
