"""`opsascode trust init|propose`: make the first version of the trust root, or propose the next."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

import click

from opsascode.cli._console import escape_line
from opsascode.cli._options import format_option
from opsascode.cli._trust import WARN_DAYS, file_of, open_proposal, shown_path
from opsascode.cli._trust_edit import DUAL_THRESHOLD, RootEditor, pair
from opsascode.cli._trust_options import RootWords, edit, many, root_options, signing_options
from opsascode.cli._trust_sign import Draft, sign_draft
from opsascode.cli._trust_text import warnings_about
from opsascode.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.proof import TrustRoot

_HOLDS: Final = timedelta(days=365)
_FEWEST: Final = 3


class ProposeWords(RootWords):
    """What only a proposal can say."""

    keys: tuple[str, ...]
    revoked: tuple[str, ...]
    gone: tuple[str, ...]
    unprotected: tuple[str, ...]
    machines_gone: tuple[str, ...]
    roles_gone: tuple[str, ...]
    distrust: tuple[str, ...]


@click.command()
@many("--person", "persons", "NAME=KEY", "A person and a key: FILE.pub, or agent:FINGERPRINT; may be repeated.")
@root_options
@click.option(
    "--from",
    "ceremony",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Take persons, roles and everything else from a YAML file.",
)
@signing_options
@format_option
@click.pass_obj
def init(face: Face, /, ceremony: Path | None, **words: Unpack[RootWords]) -> int:
    """Make version 1 of the trust root, and sign it; the others sign it with `opsascode trust sign`.

    Where nothing is said of roles, everybody has those of root (2 must agree), rollback-approver (2), policy-approver
    and run-approver.

    Example: opsascode trust init --person alice=alice.pub --person bob=bob.pub --person carol=agent:carol@laptop
    """
    file = file_of(face, 1)
    if file.exists() or _committed(face):
        raise UsageError(
            f"{shown_path(face, file)} is there already",
            advice="propose a change with `opsascode trust propose`; only a root that nobody uses yet can be removed",
        )
    now = datetime.now(UTC).replace(microsecond=0)
    editor = RootEditor(root=_empty(now), now=now, base=Path.cwd())
    if ceremony is not None:
        from opsascode.cli._trust_file import read_ceremony  # noqa: PLC0415 - the options form does without

        read_ceremony(ceremony, editor)
    for name, place in (pair(each, "--person", "alice=alice.pub") for each in words["persons"]):
        editor.add_key(name, place)
    for name in {each.partition("=")[0] for each in words["accounts"]}:
        if editor.root.person(name) is not None and ceremony is None:
            editor.person(name, accounts=())
    if not editor.root.persons:
        raise UsageError("a trust root needs persons", advice="--person alice=alice.pub, three of them at least")
    if not editor.root.roles:
        _usual_roles(editor)
    edit(editor, words)
    code = sign_draft(face, Draft(root=editor.root, file=file), words)
    for warning in warnings_about(editor.root, now, days=WARN_DAYS) if not face.json else ():
        click.echo(f"note: {escape_line(warning)}", err=True)
    return code


@click.command()
@many("--add-person", "persons", "NAME=KEY", "A new person and their key: FILE.pub, or agent:FINGERPRINT.")
@many("--remove-person", "gone", "NAME", "Take a person away, and out of every role.")
@many("--add-key", "keys", "NAME=KEY[:PURPOSE]", "Another key of a person; PURPOSE: approval, root, break-glass.")
@many("--revoke-key", "revoked", "SHA256:...", "Take a key away; what it approved and is still open dies with it.")
@root_options
@many("--unprotect", "unprotected", "GLOB", "Paths that may change without approval.")
@many("--remove-role", "roles_gone", "ROLE", "Take a role away.")
@many("--remove-machine", "machines_gone", "NAME", "Take a machine away.")
@many("--distrust", "distrust", "SHA256:...@ENTRY", "Do not believe a machine's key from a ledger entry on.")
@signing_options
@format_option
@click.pass_obj
def propose(face: Face, /, **words: Unpack[ProposeWords]) -> int:
    """Propose the next version of the trust root, and sign it; it counts once enough others have signed.

    Enough are as many as version N asks for, and as many as version N + 1 asks for.
    """
    from opsascode.proof import root_changes  # noqa: PLC0415 - keeps --help quick

    chain = face.trusted()
    newest = chain.current
    there = open_proposal(face, chain)
    if there is not None:
        what_now = "sign it" if there.signed.missing else f"commit it on {newest.root.ref.removeprefix('refs/heads/')}"
        raise UsageError(
            f"version {there.signed.root.version} is proposed already, and signed by {', '.join(there.signed.signers)}",
            advice=f"{what_now}, or remove {shown_path(face, there.file)} to propose something else",
        )
    file = file_of(face, newest.root.version + 1)
    now = datetime.now(UTC).replace(microsecond=0)
    editor = RootEditor(root=newest.root, now=now, base=Path.cwd())
    _changes(editor, words)
    if not root_changes(newest.root, editor.root):
        raise UsageError("nothing would change", advice="see `opsascode trust propose --help`")
    editor.follow(newest.digest)
    return sign_draft(face, Draft(root=editor.root, before=chain, file=file), words)


def _changes(editor: RootEditor, words: ProposeWords) -> None:
    """Do what a proposal says: persons and keys first, then what names them, then what is taken away."""
    for name, place in (pair(each, "--add-person", "dave=dave.pub") for each in words["persons"]):
        if editor.root.person(name) is not None:
            raise UsageError(f"{name} is a person already", advice=f"--add-key {name}={place}")
        editor.add_key(name, place)
    for name, place in (pair(each, "--add-key", "alice=token.pub") for each in words["keys"]):
        editor.need_person(name)
        editor.add_key(name, place)
    for keyid in words["revoked"]:
        editor.revoke_key(keyid)
    edit(editor, words)
    _take_away(editor, words)


def _take_away(editor: RootEditor, words: ProposeWords) -> None:
    for name in words["gone"]:
        editor.remove_person(name)
    for name in words["roles_gone"]:
        if editor.root.role(name) is None:
            raise UsageError(f"there is no role {name}")
        editor.role(name, "")
    for pattern in words["unprotected"]:
        editor.unprotect(pattern)
    for name in words["machines_gone"]:
        editor.remove_machine(name)
    for word in words["distrust"]:
        editor.distrust(word)


def _empty(now: datetime) -> TrustRoot:
    """Begin a first version; its salt makes it another one than any with the same people."""
    from opsascode.proof import TrustRoot  # noqa: PLC0415 - keeps --help quick

    return TrustRoot(version=1, previous=None, expires=now + _HOLDS, persons=(), roles=(), salt=secrets.token_hex(16))


def _usual_roles(editor: RootEditor) -> None:
    """Give everybody who has a key the roles every team needs.

    Raises:
        DocumentError: there are too few for two to agree about a third one's change.
    """
    names = ",".join(each.id for each in editor.root.persons if each.keys)
    if names.count(",") + 1 < _FEWEST:
        raise DocumentError(
            f"{names or 'nobody'}: {DUAL_THRESHOLD} must agree to a change of a third, so {_FEWEST} persons are needed",
            advice="add --person NAME=KEY; one person with two keys is still one person",
        )
    for role in ("root", "rollback-approver", "policy-approver", "run-approver"):
        editor.role(role, names)


def _committed(face: Face) -> bool:
    from opsascode.repo import committed_trust  # noqa: PLC0415 - keeps --help quick

    return bool(committed_trust(face.repository.root, "HEAD"))
