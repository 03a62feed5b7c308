"""Which words change a trust root, and in which order are they taken?

The same options make version 1 and propose a later one; what adds comes first, so that `--add-person dave=KEY --role
root=+dave` means what it says. Not here: what each does (`_trust_edit`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from opsascode.cli._trust_edit import pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsascode.cli._trust_edit import RootEditor


class RootWords(TypedDict):
    """What the command line says about a version, and about who signs it."""

    persons: tuple[str, ...]
    names: tuple[str, ...]
    emails: tuple[str, ...]
    accounts: tuple[str, ...]
    teams: tuple[str, ...]
    forges: tuple[str, ...]
    roles: tuple[str, ...]
    thresholds: tuple[str, ...]
    protected: tuple[str, ...]
    machines: tuple[str, ...]
    ref: str | None
    expires: str | None
    bridge: int | None
    quorum: int | None
    window: str | None
    staleness: str | None
    person: str | None
    key: Path | None
    yes: bool


def many(name: str, variable: str, metavar: str, text: str) -> Callable[..., Any]:
    """Make an option that may be said several times."""
    return click.option(name, variable, multiple=True, metavar=metavar, help=text)


def signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add who signs, and with which key."""
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask before signing."),
        click.option(
            "--key",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The key to sign with, or its .pub file for ssh-agent or a security key.",
        ),
        click.option("--as", "person", metavar="PERSON", help="Who you are [default: whose key is here]."),
    ):
        function = option(function)
    return function


def root_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what a version can say."""
    for option in reversed(
        (
            many("--name", "names", "PERSON=TEXT", "A person's name, for display."),
            many("--email", "emails", "PERSON=ADDRESS", "An address a person commits under; -ADDRESS removes one."),
            many(
                "--account",
                "accounts",
                "PERSON=ACCOUNT",
                "An account a person works under, also at a forge (github:NAME) [default: the person's id].",
            ),
            many("--team", "teams", "PERSON=TEAM", "A team a person is of; -TEAM removes it."),
            many("--forge", "forges", "PERSON=github:NUMBER", "The number by which a forge knows a person."),
            many("--role", "roles", "ROLE=A,B,C", "Who has a role; ROLE=+A,-B changes who has it."),
            many("--threshold", "thresholds", "ROLE=N[/TEAMS]", "How many of a role must agree, of how many teams."),
            many("--protect", "protected", "GLOB", "Paths that only change with approval."),
            many(
                "--machine",
                "machines",
                "NAME=KEY:ROLE,...",
                "A machine, its public key, and its roles: runner, ledger, witness, bridge.",
            ),
            click.option("--ref", metavar="BRANCH", help="The protected branch [default: main]."),
            click.option("--expires", metavar="DAY|365d", help="Until when this version holds [default: a year]."),
            click.option(
                "--bridge", type=click.IntRange(0, 2), help="How many approvals may come from a forge [default: 1]."
            ),
            click.option(
                "--witnesses", "quorum", type=click.IntRange(0), help="How many witnesses a checkpoint needs [0]."
            ),
            click.option(
                "--rollback-window", "window", metavar="180d", help="How long a value that was left is remembered."
            ),
            click.option(
                "--max-staleness",
                "staleness",
                metavar="24h|never",
                help="How old what is known of the team's ledger may be, for what needs privileges.",
            ),
        )
    ):
        function = option(function)
    return function


def edit(editor: RootEditor, words: RootWords) -> None:
    """Do to a version what the shared words say; persons and their keys are there already.

    Raises:
        UsageError: a word cannot be used.
    """
    for name, text in _pairs(words["names"], "--name", "'alice=Alice Example'"):
        editor.need_person(name)
        editor.person(name, name=text)
    for name, address in _pairs(words["emails"], "--email", "alice=alice@example.org"):
        editor.add_to(name, "emails", address)
    for name, account in _pairs(words["accounts"], "--account", "alice=github:alice"):
        editor.add_to(name, "accounts", account)
    for name, team in _pairs(words["teams"], "--team", "alice=network"):
        editor.add_to(name, "teams", team)
    for name, number in _pairs(words["forges"], "--forge", "alice=github:12345"):
        editor.forge(name, number)
    for name, persons in _pairs(words["roles"], "--role", "incident-commander=alice,bob"):
        editor.role(name, persons)
    for name, number in _pairs(words["thresholds"], "--threshold", "rollback-approver=2"):
        editor.threshold(name, number)
    for pattern in words["protected"]:
        editor.protect(pattern)
    for name, place in _pairs(words["machines"], "--machine", "runner-1=machine.pub:runner,ledger"):
        editor.machine(name, place)
    _limits(editor, words)


def _limits(editor: RootEditor, words: RootWords) -> None:
    if words["ref"]:
        editor.ref(words["ref"])
    if words["expires"]:
        editor.expires(words["expires"])
    if words["bridge"] is not None:
        editor.limits(bridge_most=words["bridge"])
    if words["quorum"] is not None:
        editor.limits(witness_quorum=words["quorum"])
    if words["window"]:
        editor.window(words["window"])
    if words["staleness"]:
        editor.staleness(words["staleness"])


def _pairs(words: tuple[str, ...], option: str, example: str) -> list[tuple[str, str]]:
    return [pair(each, option, example) for each in words]
