"""The words of the command line: help for everything, one sentence for every mistake, and a terminal treated as one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import opsascode
from tests.world import COMMAND, Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMANDS = (
    (),
    ("init",),
    ("check",),
    ("plan",),
    ("run",),
    ("runs",),
    ("runs", "list"),
    ("runs", "show"),
    ("runs", "watch"),
    ("runs", "logs"),
    ("runs", "resume"),
    ("runs", "undo"),
    ("runs", "cancel"),
    ("runs", "prune"),
    ("approve",),
    ("status",),
    ("show",),
    ("show", "runbook"),
    ("verify",),
    ("ledger",),
    ("ledger", "log"),
    ("ledger", "prove"),
    ("ledger", "checkpoint"),
    ("ledger", "sync"),
    ("ledger", "witness"),
    ("trust",),
    *(("trust", each) for each in ("init", "show", "propose", "sign", "pin")),
    ("policy",),
    *(("policy", each) for each in ("list", "show", "history", "diff", "status", "apply", "rollback", "merge")),
    *(("policy", each) for each in ("unlock", "verify", "break-glass", "ratify", "hook", "bridge")),
    ("policy", "simulate"),
    ("policy", "hook", "install"),
    ("policy", "hook", "receive"),
    ("slo",),
    *(("slo", each) for each in ("status", "report", "rules", "gate", "import", "export")),
    ("incident",),
    *(("incident", each) for each in ("open", "list", "resolve")),
)
GROUPS = ((), ("runs",), ("show",), ("ledger",), ("trust",), ("policy",), ("policy", "hook"), ("slo",), ("incident",))
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with a runbook, and one run of it; the tests only read it, or add to it."""
    world = new_world(tmp_path_factory.mktemp("past") / "home")
    world.runbook("hello", "- id: hello\n  task: {ansible.builtin.command: 'echo hello'}", targets="{hosts: web1}")
    world.commit()
    assert world.ops("run", "hello", "-y").code == 0
    return world


def runs(world: World) -> list[dict[str, object]]:
    found = world.ops("runs", "list", "--format", "json").json
    assert isinstance(found, list)
    return found


def is_one_sentence(answer: Answer) -> bool:
    """Whether the answer is an error told to a person: nothing on stdout, no Python, no terminal sequence on stderr."""
    told = re.search("^[Ee]rror: .", answer.err, re.MULTILINE)
    return bool(told) and "Traceback" not in answer.err and "defect" not in answer.err and ESCAPE not in answer.err


# What is there


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_explains_each_of_its_options(past: World, words: tuple[str, ...]) -> None:
    answer = past.ops(*words, "--help")
    assert answer.code == 0
    usage, _, rest = answer.out.partition("\n\n")
    assert usage.startswith(" ".join(("Usage: opsascode", *words)))
    assert re.match(r" +[A-Z].{15}", rest), "it says what it does"
    options = rest.partition("Options:\n")[2].partition("\n\n")[0]
    entries = re.split(r"\n(?=  -)", options.rstrip("\n"))
    assert [entry for entry in entries if not re.search(r"( {2}|\n +)\S.{10}", entry.strip())] == []


def test_every_command_is_in_the_list_above(past: World) -> None:
    found = set(GROUPS[:1])
    for group in GROUPS:
        listed = past.ops(*group, "--help").out.partition("Commands:\n")[2]
        found |= {(*group, name) for name in re.findall(r"^ {2}([\w-]+) +\S", listed, re.MULTILINE)}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_told(past: World, option: str) -> None:
    assert opsascode.__version__ in past.ops(option).out


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("rum",), "run"),
        (("chek",), "check"),
        (("runs", "lst"), "list"),
        (("ledger", "prov"), "prove"),
        (("run", "helo"), "hello"),
        (("run", "hello", "--limti", "web1"), "--limit"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_word_that_was_meant(
    past: World, words: tuple[str, ...], meant: str
) -> None:
    answer = past.ops(*words)
    assert answer.code == 2
    assert re.search(rf"[Dd]id you mean\b.*{meant}", answer.err)
    assert answer.out == ""


# Answers for programs


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("plan", "hello"),
        ("plan", "hello", "--playbook"),
        ("runs", "list"),
        ("runs", "show"),
        ("verify", "latest"),
        ("verify", "--all"),
        ("ledger", "log"),
        ("ledger", "prove", "0"),
        ("ledger", "checkpoint"),
    ],
    ids=" ".join,
)
def test_every_answer_in_json_is_one_value_wherever_the_option_stands(past: World, words: tuple[str, ...]) -> None:
    behind, before = past.ops(*words, "--format", "json"), past.ops("--format", "json", *words)
    assert behind.code == before.code == 0, behind.err + before.err
    assert behind.json == before.json
    assert isinstance(behind.json, dict | list)


def test_the_events_of_a_run_are_one_json_object_a_line(past: World) -> None:
    answer = past.ops("--format", "json", "run", "hello")
    assert answer.code == 0
    assert {line["event"] for line in answer.lines} >= {"stage", "result", "end"}


@pytest.mark.parametrize(
    ("words", "code"), [(("run", "nosuch"), 2), (("verify", "nosuch"), 2), (("run",), 2), (("rum",), 2)], ids=str
)
def test_an_error_is_one_json_object_on_standard_error_for_a_program(
    past: World, words: tuple[str, ...], code: int
) -> None:
    answer = past.ops(*words, "--format", "json")
    assert (answer.code, answer.out) == (code, "")
    told = json.loads(answer.err)
    assert told["message"]
    assert told["exit_code"] == code


# Mistakes


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with one of every mistake in it."""
    world = new_world(tmp_path_factory.mktemp("faulty") / "home")
    world.runbook("good", "- id: hello\n  task: {ansible.builtin.command: 'touch {{ playbook_dir }}/ran'}")
    twice = world.runbook("twice", "- id: hello\n  check: {that: 'true'}")
    (world.root / "playbooks/again.yml").write_text(twice.read_text())
    twice.rename(world.root / "playbooks/once.yml")
    world.write("playbooks/broken.yml", "apiVersion: [\n")
    world.write("playbooks/list.yml", "- not\n- a mapping\n")
    world.write("playbooks/empty.yml", "")
    (world.root / "playbooks/binary.yml").write_bytes(bytes(range(256)))
    (world.root / "playbooks/loop.yml").symlink_to("loop.yml")
    (world.root / "plans.json").mkdir()
    (world.root / "garbage.json").write_bytes(bytes(range(256)))
    world.write("half.json", '{"format": "opsascode/plan/v1"')
    world.write("other.json", '{"format": "something else"}')
    world.write("hollow.json", '{"format": "opsascode/plan/v1"}')
    world.write("inventories/broken.yml", "all: [\n")
    world.write("inventories/fails.sh", "#!/bin/sh\necho the source of hosts is down >&2\nexit 3\n").chmod(0o755)
    world.write("inventories/chatters.sh", "#!/bin/sh\necho welcome\n").chmod(0o755)
    world.write("parameters.yml", "- not\n- a mapping\n")
    return world


MISTAKES: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("run", "nosuch"), 2, "no runbook «nosuch»"),
    (("run", "playbooks/nosuch.yml"), 2, "no runbook"),
    (("run", "playbooks/broken.yml"), 3, "playbooks/broken.yml:2:1"),
    (("run", "broken"), 3, "playbooks/broken.yml:2:1"),
    (("run", "playbooks/list.yml"), 3, "playbooks/list.yml:1:1"),
    (("run", "playbooks/empty.yml"), 3, "playbooks/empty.yml"),
    (("run", "playbooks/binary.yml"), 3, "UTF-8"),
    (("plan", "playbooks/loop.yml"), 2, "playbooks/loop.yml"),
    (("run", "twice"), 3, "twice"),
    (("run", "playbooks"), 2, "playbooks"),
    (("run", "plans.json"), 2, "plans.json"),
    (("run", "garbage.json"), 2, "plan file"),
    (("run", "half.json"), 2, "plan file"),
    (("run", "other.json"), 2, "plan file"),
    (("run", "hollow.json"), 2, "plan file"),
    (("run", "/dev/null"), 2, "/dev/null"),
    (("run", "good", "--limit", "~("), 2, "~("),
    (("run", "good", "--limit", "nosuch"), 2, "nosuch"),
    (("run", "good", "--limit", "@nosuch"), 2, "nosuch"),
    (("run", "good", "-i", "inventories/nosuch.yml"), 2, "does not exist"),
    (("run", "good", "-i", "inventories/broken.yml"), 3, "inventories/broken.yml:2:1"),
    (("run", "good", "-i", "inventories/fails.sh"), 2, "the source of hosts is down"),
    (("run", "good", "-i", "inventories/chatters.sh"), 2, "inventories/chatters.sh"),
    (("run", "good", "-e", "nothing"), 2, "NAME=VALUE"),
    (("run", "good", "-e", "nothing=1"), 2, "no such parameter"),
    (("run", "good", "-e", "@nosuch.yml"), 2, "nosuch.yml"),
    (("run", "good", "-e", "@parameters.yml"), 3, "parameters.yml"),
    (("run", "good", "-e", "@plans.json"), 2, "plans.json"),
    (("run", "good", "--forks", "0"), 2, "forks"),
    (("plan", "good", "--out", "plans.json"), 2, "plans.json"),
    (("plan", "good", "--out", "no/such/place.json"), 2, "no/such/place.json"),
    (("check", "nosuch.yml"), 2, "nosuch.yml"),
    (("check", "/etc/passwd"), 2, "/etc/passwd"),
    (("check", "--format", "xml"), 2, "xml"),
    (("--repo", "/nosuch", "check"), 2, "/nosuch"),
    (("runs", "show"), 2, "nothing was run"),
    (("verify",), 2, "say what"),
    (("verify", "--all"), 2, "no ledger"),
    (("verify", "good", "--key", "x"), 2, "--key"),
    (("verify", "garbage.json", "--key", "nosuch.pub"), 2, "nosuch.pub"),
    (("verify", "garbage.json", "--key", "garbage.json"), 2, "garbage.json"),
    (("verify", "garbage.json", "--key", "ssh-ed25519 AAAA"), 5, "key"),
    (("ledger", "log"), 2, "no ledger"),
    (("ledger", "prove", "minus"), 2, "minus"),
)


@pytest.mark.parametrize(
    ("words", "code", "says"), MISTAKES, ids=lambda part: " ".join(part) if isinstance(part, tuple) else ""
)
def test_a_mistake_is_answered_with_one_sentence_and_runs_nothing(
    faulty: World, words: tuple[str, ...], code: int, says: str
) -> None:
    answer = faulty.ops(*words)
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert is_one_sentence(answer), answer.err
    assert says in answer.err
    assert not (faulty.root / "playbooks/ran").exists()
    assert not faulty.ledger.exists()


def test_check_tells_every_mistake_in_one_pass(faulty: World) -> None:
    answer = faulty.ops("check")
    assert answer.code == 3
    for name in ("again", "binary", "broken", "list", "loop", "once"):
        assert f"playbooks/{name}.yml" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize("text", ["a: [\n", "- 1\n", "\x00", "apiVersion: opsascode/v1\nkind: Repository\n"])
@pytest.mark.parametrize("words", [("runs", "list"), ("run", "hello"), ("ledger", "log")], ids=" ".join)
def test_settings_that_are_no_settings_are_told_by_every_command(
    world: World, text: str, words: tuple[str, ...]
) -> None:
    (world.root / "opsascode.yml").write_text(text)
    answer = world.ops(*words)
    assert answer.code == 3
    assert is_one_sentence(answer)
    assert "opsascode.yml" in answer.err
    assert world.ops("check").code == 3


def test_a_file_that_must_not_be_read_is_told(world: World) -> None:
    world.runbook("hello", "- id: hello\n  check: {that: 'true'}")
    hidden = world.root / "playbooks/hello.yml"
    hidden.chmod(0)
    if os.access(hidden, os.R_OK):  # root reads everything, but not what is no file at all
        hidden.unlink()
        os.mkfifo(hidden)
    answer = world.ops("run", "playbooks/hello.yml")
    assert answer.code in {2, 3}
    assert is_one_sentence(answer)
    assert "hello.yml" in answer.err


# Pipes


@pytest.mark.parametrize(
    "words", [("runs", "list"), ("runs", "show"), ("check",), ("ledger", "log"), ("plan", "hello")], ids=" ".join
)
def test_a_reader_that_has_left_is_no_failure(past: World, words: tuple[str, ...]) -> None:
    done = unheard(past, *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_whose_reader_has_left_goes_on_to_its_end(past: World, tmp_path: Path) -> None:
    past.runbook(
        "unheard",
        f"- id: one\n  check: {{that: 'true'}}\n- id: two\n  task: {{ansible.builtin.command: 'touch {tmp_path}/two'}}",
        targets="{hosts: web1}",
    )
    done = unheard(past, "run", "unheard", "-y")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "two").exists()
    assert runs(past)[0]["outcome"] == "succeeded"


def unheard(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [COMMAND, *words],
            cwd=world.root,
            env=world.variables(),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "words", [("runs", "list"), ("runs", "show"), ("check",), ("run", "hello"), ("verify", "--all")], ids=" ".join
)
def test_nothing_but_text_goes_into_a_pipe(past: World, words: tuple[str, ...]) -> None:
    answer = past.ops(*words, TERM="xterm-256color")
    assert answer.code == 0
    assert ESCAPE not in answer.out + answer.err


# Terminals


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a person saw at a terminal, and how the command ended."""

    code: int
    screen: str


def at_terminal(world: World, *words: str, types: dict[str, str] | None = None, **environment: str) -> Seen:
    """Run a command at a pseudo terminal of its own; `types` says what is typed when something is asked."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    process = subprocess.Popen(
        [COMMAND, *words],
        cwd=world.root,
        env={**world.variables(), "TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - one system call, so that Ctrl-C comes from the terminal itself
    )
    os.close(theirs)
    screen = b""
    waiting = dict(types or {})
    for piece in pieces(ours):
        screen += piece
        for asked in [asked for asked in waiting if asked.encode() in screen]:
            time.sleep(0.3)  # nobody is quicker; and Python may miss a Ctrl-C while it is about to wait for a line
            os.write(ours, waiting.pop(asked).encode())
    os.close(ours)
    try:
        return Seen(code=process.wait(10), screen=screen.decode())
    finally:
        process.kill()  # which does nothing to one that has ended


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def pieces(terminal: int) -> Iterator[bytes]:
    """What comes from the other side until it is closed, or until nothing has come for long enough."""
    while select.select([terminal], [], [], 30)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux tells so that the other side is closed
            return
        if not piece:
            return
        yield piece


ASKED = "Run hello on 1 host? [y/N]"


def test_no_at_the_prompt_runs_nothing(past: World) -> None:
    before = runs(past)
    seen = at_terminal(past, "run", "hello", types={ASKED: "n\n"})
    assert seen.code == 4
    assert "Plan: Test hello" in seen.screen
    assert "nothing was run" in seen.screen
    assert runs(past) == before


@pytest.mark.parametrize("answer", ["\n", "nonsense\nn\n"], ids=["nothing", "nonsense"])
def test_only_yes_is_yes(past: World, answer: str) -> None:
    before = runs(past)
    assert at_terminal(past, "run", "hello", types={ASKED: answer}).code == 4
    assert runs(past) == before


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_leaving_the_prompt_runs_nothing(past: World, key: str) -> None:
    before = runs(past)
    seen = at_terminal(past, "run", "hello", types={ASKED: key})
    assert seen.code == 130
    assert "Traceback" not in seen.screen
    assert runs(past) == before


def test_yes_at_the_prompt_runs_with_a_live_table_in_colour(past: World) -> None:
    before = runs(past)
    seen = at_terminal(past, "run", "hello", types={ASKED: "y\n"})
    assert seen.code == 0
    assert len(runs(past)) == len(before) + 1
    assert f"{ESCAPE}[33mchanged{ESCAPE}[0m" in seen.screen
    assert re.search(r"\x1b\[(1A|2K)", seen.screen), "the table is redrawn in place"
    assert seen.screen.count("wave 1 of 1: 1 host") > 1
    assert re.search(r"\x1b\[32m.*succeeded", seen.screen)
    assert seen.screen.rpartition("\x1b[?25h")[1], "the cursor is shown again"


def test_the_yes_option_asks_nothing(past: World) -> None:
    seen = at_terminal(past, "run", "hello", "--yes")
    assert seen.code == 0
    assert "[y/N]" not in seen.screen


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "dumb", "NO_COLOR": "1"}], ids=str)
def test_a_dumb_terminal_gets_plain_lines(past: World, environment: dict[str, str]) -> None:
    seen = at_terminal(past, "run", "hello", "-y", **environment)
    assert seen.code == 0
    assert re.search(r"^  hello  web1  changed +\d", seen.screen, re.MULTILINE)
    assert ESCAPE not in seen.screen


@pytest.mark.parametrize(
    "words", [("runs", "list"), ("runs", "show"), ("verify", "--all"), ("run", "hello", "-y")], ids=" ".join
)
def test_colour_is_for_terminals_and_for_those_who_want_it(past: World, words: tuple[str, ...]) -> None:
    colour = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")
    assert colour.search(at_terminal(past, *words).screen)
    assert not colour.search(at_terminal(past, *words, NO_COLOR="1").screen)


def test_ctrl_c_at_the_terminal_stops_a_run_and_gives_the_cursor_back(past: World) -> None:
    past.runbook("sleep", "- id: sleep\n  task: {ansible.builtin.command: 'sleep 300'}", targets="{hosts: web1}")
    seen = at_terminal(past, "run", "sleep", "-y", types={"running": "\x03"})
    assert seen.code == 130
    assert "canceled" in seen.screen
    assert "Traceback" not in seen.screen
    assert seen.screen.rfind("\x1b[?25h") > seen.screen.rfind("\x1b[?25l")
    assert runs(past)[0]["outcome"] == "canceled"


# Signals, and other directories


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_every_way_to_ask_for_an_end_closes_the_record(past: World, tmp_path: Path, number: signal.Signals) -> None:
    begun = tmp_path / "begun"
    past.runbook("long", f"- id: long\n  task: {{ansible.builtin.shell: 'touch {begun}; exec sleep 300'}}", targets="{hosts: web1}")  # fmt: skip
    process = past.start("run", "long", "-y")
    wait_until(begun.exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    newest = runs(past)[0]
    assert (newest["outcome"], newest["end"] is not None) == ("canceled", True)
    assert past.ops("verify", "latest").code == 0


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def elsewhere(world: World, place: Path, *words: str | Path) -> Answer:
    done = subprocess.run(
        [COMMAND, *words], cwd=place, env=world.variables(), capture_output=True, text=True, check=False
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def test_the_repository_can_be_named_from_elsewhere(past: World, tmp_path: Path) -> None:
    assert elsewhere(past, tmp_path, "--repo", past.root, "check").code == 0
    plan = elsewhere(past, tmp_path, "--repo", past.root, "--format", "json", "plan", "hello")
    assert plan.json["digest"] == past.ops("plan", "hello", "--format", "json").json["digest"]
    run = elsewhere(past, tmp_path, "--repo", past.root, "run", "hello", "-y")
    assert run.code == 0, run.err
    listed = elsewhere(past, tmp_path, "--repo", past.root, "--format", "json", "runs", "list")
    assert listed.json == runs(past)


def test_the_repository_is_found_from_below_its_root(past: World) -> None:
    answer = elsewhere(past, past.root / "playbooks", "plan", "hello", "--format", "json")
    assert answer.json["digest"] == past.ops("plan", "hello", "--format", "json").json["digest"]
