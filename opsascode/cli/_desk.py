"""How are people asked while a run waits: at this terminal, or not at all?

At a terminal the request is shown, and with it the command by which somebody else answers from elsewhere; what arrives
is shown as it comes. A second person may sign right here, as themselves with their own key. Ctrl-C stops the run as it
always does. Where nobody can be asked, what is there already is taken, and else what is missing is told.

Not here: whether an approval counts (the run judges, and judges again what this gives it).
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._approve import open_exchange
from opsascode.cli._asked import request_lines, verdict_lines
from opsascode.cli._console import at_terminal, escape_line, escape_text
from opsascode.cli._signing import choose_signatory, may_answer, sign_answer
from opsascode.errors import OpsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.policy import ApprovalVerdict
    from opsascode.run import Answered, AskRequest, Desk, Exchange, Unanswered

    Judge = Callable[[Sequence[bytes]], ApprovalVerdict]

_LOOK_SECONDS: Final = 1.0
_FETCH_SECONDS: Final = 5.0
_KEYS_SECONDS: Final = 0.2
_LONGEST_LINE: Final = 4096


def desk_for(face: Face) -> Desk:
    """Choose where people are asked: at this terminal when somebody sits there."""
    if face.json or not at_terminal():
        return QuietDesk(face)
    return TerminalDesk(face)


class QuietDesk:
    """Asks nobody: takes what is there, or tells what is missing."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def ask(self, request: AskRequest, *, judge: Judge, cancel: Callable[[], bool]) -> Answered | Unanswered:  # noqa: ARG002 - a desk that does not wait cannot be stopped
        """Take what is there already, or tell what is missing; leave the request where others find it."""
        from opsascode.run import AskKind, Unanswered  # noqa: PLC0415 - keeps --help quick

        ask = request.ask
        if ask.kind is AskKind.MANUAL:
            return Unanswered(missing=f"{ask.title}: a person must do this, and confirm it at a terminal")
        exchange = open_exchange(self._face)
        exchange.refresh()
        verdict = judge(exchange.gather(request))
        if verdict.satisfied or verdict.declined:
            return _answered(verdict)
        told = [f"{ask.title}: {verdict.missing}"]
        told += [f"{fault.message} ({fault.mend})" if fault.mend else fault.message for fault in verdict.faults]
        exchange.announce(request)
        told += exchange.troubles
        told.append(f"approve with `opsascode approve {request.run}`")
        return Unanswered(missing="\n".join(told))


class TerminalDesk:
    """Asks at the terminal, and watches for answers from elsewhere meanwhile."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def ask(self, request: AskRequest, *, judge: Judge, cancel: Callable[[], bool]) -> Answered | Unanswered:
        """Show the request and wait for the answer, or until the run shall stop."""
        from opsascode.run import AskKind  # noqa: PLC0415 - keeps --help quick

        keyboard = _Keyboard(cancel)
        if request.ask.kind is AskKind.MANUAL:
            return _confirm_manual(request, keyboard)
        return _Waiting(self._face, request, judge, keyboard).wait()


class _Keyboard:
    """Reads whole lines from the terminal without missing a request to stop."""

    def __init__(self, cancel: Callable[[], bool]) -> None:
        self._cancel = cancel
        self._rest = b""
        self.ended = False

    @property
    def canceled(self) -> bool:
        return self._cancel()

    def line(self, seconds: float) -> str | None:
        """Give a line typed within some time, or None."""
        until = time.monotonic() + seconds
        while not self.ended and not self._cancel():
            if b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                return line.decode(errors="replace").strip()
            left = until - time.monotonic()
            if left <= 0:
                return None
            ready, _, _ = select.select((0,), (), (), min(left, _KEYS_SECONDS))
            if ready:
                typed = os.read(0, _LONGEST_LINE)
                self.ended = not typed
                self._rest = (self._rest + typed)[-_LONGEST_LINE:]
        return None

    def prompt(self, text: str) -> str | None:
        """Ask and wait for a line; None when the run shall stop, or the terminal is gone."""
        click.echo(f"{text} ", nl=False)
        while not self.ended and not self._cancel():
            line = self.line(_LOOK_SECONDS)
            if line is not None:
                return line
        click.echo("")
        return None


def _confirm_manual(request: AskRequest, keyboard: _Keyboard) -> Answered | Unanswered:
    """Show what a person has to do, and wait until they say that it is done, or cannot be."""
    from opsascode.run import Answered, Unanswered  # noqa: PLC0415 - keeps --help quick

    ask = request.ask
    click.echo(f"\nBy hand, before the run goes on: {escape_line(ask.title)}")
    for line in escape_text(ask.instructions).splitlines():
        click.echo(f"  | {line}")
    waiting = Unanswered(missing=f"{ask.title}: nobody confirmed it")
    while True:
        said = keyboard.prompt("Is it done? [y: yes, n: no, stop the run]")
        if said is None:
            return waiting
        if said.casefold() in {"y", "yes"}:
            note = _noted(keyboard, "Note (needed):" if ask.note_needed else "Note (or Enter):", needed=ask.note_needed)
            return waiting if note is None else Answered(granted=True, by=(request.requester,), note=note)
        if said.casefold() in {"n", "no"}:
            note = _noted(keyboard, "Why not?", needed=True)
            return waiting if note is None else Answered(granted=False, by=(request.requester,), note=note)
        click.echo("Please type y or n.")


def _noted(keyboard: _Keyboard, text: str, *, needed: bool) -> str | None:
    """Ask for a note; None when the run shall stop."""
    while True:
        note = keyboard.prompt(text)
        if note is None or note or not needed:
            return note


class _Waiting:
    """One question for approvals, on its way."""

    def __init__(self, face: Face, request: AskRequest, judge: Judge, keyboard: _Keyboard) -> None:
        self._face, self._request, self._judge, self._keyboard = face, request, judge, keyboard
        self._exchange = open_exchange(face)
        self._shown: set[str] = set()

    def wait(self) -> Answered | Unanswered:
        from opsascode.run import Unanswered  # noqa: PLC0415 - keeps --help quick

        self._introduce()
        verdict = self._look()
        with _fetching(self._exchange):
            while not (verdict.satisfied or verdict.declined):
                if self._keyboard.canceled or self._keyboard.ended:
                    return Unanswered(missing=f"{self._request.ask.title}: {verdict.missing}")
                typed = self._keyboard.line(_LOOK_SECONDS)
                if typed:
                    self._typed(typed)
                verdict = self._look()
        return _answered(verdict)

    def _introduce(self) -> None:
        from opsascode.run import read_request  # noqa: PLC0415 - keeps --help quick

        request = self._request
        place = self._face.state.run_directory(request.run) / "asks" / f"{request.ask.stage}.json"
        written = read_request(place.read_bytes(), name=str(place))
        click.echo("\nThe run waits for approval: " + "\n".join(request_lines(written.request, written.plan)))
        people = self._face.people()
        able = [each.id for each in people.with_role(request.ask.role) if may_answer(people, request, each)]
        elsewhere = self._exchange.announce(request)
        where = "in any clone of this repository" if elsewhere else "in this account on this machine"
        click.echo(f"\nWho may: {', '.join(able) or 'nobody'}")
        click.echo(f"Another person approves {where}:\n    opsascode approve {request.run}")
        if not elsewhere:
            click.echo(
                f"or with a copy of the file {escape_line(str(place))}:\n    opsascode approve FILE --out ANSWER"
            )
        click.echo("or here: PERSON [KEY-FILE] signs, «decline PERSON [KEY-FILE]» refuses; Ctrl-C stops the run.")

    def _look(self) -> ApprovalVerdict:
        """Judge what is there, and show what was not shown yet."""
        verdict = self._judge(self._exchange.gather(self._request))
        lines = list(verdict_lines(replace(verdict, missing="")))
        lines += [f"  {escape_line(trouble)}" for trouble in self._exchange.troubles]
        if not (verdict.satisfied or verdict.declined):
            lines.append(f"  waiting: {escape_line(verdict.missing)}")
        for line in lines:
            if line not in self._shown:
                self._shown.add(line)
                click.echo(line)
        return verdict

    def _typed(self, text: str) -> None:
        """Let a person sign here, or say why they cannot."""
        words = text.split(maxsplit=2)
        declines = words[0] == "decline" and len(words) > 1
        name, *files = words[1:] if declines else words[:2]
        try:
            self._sign(name, Path(files[0]).expanduser() if files else None, declines=declines)
        except OpsError as error:
            click.echo(f"  {escape_text(str(error))}")

    def _sign(self, name: str, file: Path | None, *, declines: bool) -> None:
        from opsascode.policy import Answer  # noqa: PLC0415 - keeps --help quick

        signatory = choose_signatory(self._face.people(), self._request, name=name, file=file)
        key, verb = signatory.at_hand, "Decline" if declines else "Approve"
        said = self._keyboard.prompt(f"{verb} as {name} with {key.key.keyid} ({escape_line(key.place)})? [y/N]")
        if said is None or said.casefold() not in {"y", "yes"}:
            click.echo("  nothing was signed")
            return
        reason = _noted(self._keyboard, "Reason:", needed=True) if declines else ""
        if reason is None:
            return
        envelope = sign_answer(self._request, signatory, Answer.DECLINE if declines else Answer.APPROVE, reason)
        if not self._exchange.leave(self._request.run, self._request.plan_digest, envelope):
            raise UsageError("the answer could be left nowhere")


def _answered(verdict: ApprovalVerdict) -> Answered:
    """Turn a verdict that is settled into the answer."""
    from opsascode.run import Answered  # noqa: PLC0415 - keeps --help quick

    counted = verdict.declined or verdict.counted
    return Answered(
        granted=verdict.satisfied,
        by=tuple(each.person for each in counted),
        approvals=tuple(each.envelope for each in counted),
        note=next((each.reason for each in counted if each.reason), ""),
    )


@contextmanager
def _fetching(exchange: Exchange) -> Iterator[None]:
    """Fetch what others left, every few seconds and beside the waiting, as a network may take its time."""
    if exchange.mailbox is None:
        yield
        return
    over = threading.Event()

    def fetch() -> None:
        while not over.wait(_FETCH_SECONDS):
            exchange.refresh()

    fetcher = threading.Thread(target=fetch, daemon=True)
    fetcher.start()
    try:
        yield
    finally:
        over.set()
        fetcher.join(timeout=_FETCH_SECONDS)  # what comes next forks, which threads do not like
