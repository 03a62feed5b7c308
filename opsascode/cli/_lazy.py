"""Which module has the command that was meant? Modules are imported only when their command is asked for.

Not here: what any command does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

Table: TypeAlias = "Mapping[str, tuple[str, str]]"  # name -> (module, one line of help)


class LazyGroup(click.Group):
    """A group whose commands stand in a table; each lives as `command` in a module of its own."""

    def __init__(self, *, table: Table, **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type] # click's own attributes, handed on as they are
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's own
        """Import the module of a command."""
        if cmd_name not in self._table:
            return None
        command = importlib.import_module(self._table[cmd_name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._table.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say what may have been meant where there is no such command."""
        if args and args[0] not in self._table:
            raise click.UsageError(self._unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def _unknown(self, word: str) -> str:
        import difflib  # noqa: PLC0415 - only needed when a word was mistyped

        close = difflib.get_close_matches(word, self._table, n=1)
        hint = f" Did you mean «{close[0]}»?" if close else ""
        return f"No such command «{word}».{hint}"
