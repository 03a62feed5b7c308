"""The engine runs stages through real Ansible and reports what the hosts did and said."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import EngineError
from opsascode.run._journal import Ended, HostResult, HostStatus, Retried, Started, TaskStarted, read_journal
from opsascode.run._stage import unusable
from opsascode.run._verdict import Outcome
from tests.run.staging import Seen, kept_bytes, local_inventory, order, playbook, processes_with, run, shell, step

if TYPE_CHECKING:
    from pathlib import Path

SECRET = 'k8s "key" {{ 6 * 7 }}/ü'  # noqa: S105 - made up


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A stage in which everything happens that can happen to a task."""
    tasks = [
        step("say", "debug", {"msg": "hello from {{ inventory_hostname }}"}),
        shell("stay", "echo out; echo err >&2", changed_when=False),
        shell("change", "true"),
        shell("skip", "true", when="false"),
        shell("ignore", "exit 4", ignore_errors=True),
        {
            "block": [shell("try", "exit 5")],
            "rescue": [step("rescue", "debug", {"msg": "rescued"})],
            "vars": {"opsascode_step": "outer"},
        },
        {"block": [{"ansible.builtin.debug": {"msg": "inherits"}}], "vars": {"opsascode_step": "inherited"}},
        shell("retry", "exit 6", retries=1, delay=0, until="false", ignore_errors=True, register="x"),
        shell("loop", "echo said {{ item }}; exit {{ item }}", loop=[0, 7, 8], ignore_errors=True),
        step("once", "debug", {"msg": "for all"}, run_once=True),
        shell("hush", "echo confidential; exit 1", no_log=True, ignore_errors=True),
        step("delegate", "command", "true", delegate_to="elsewhere"),
        step("unreachable", "ping", when="inventory_hostname == 'b'", vars={
            "opsascode_step": "unreachable", "ansible_connection": "ssh", "ansible_host": "127.0.0.1",
            "ansible_port": 1, "ansible_ssh_common_args": "-F none"}),
        shell("break", "echo noise; echo first >&2; echo >&2; echo the disk is full >&2; exit 9",
              when="inventory_hostname == 'a'"),
        shell("after", "true"),
    ]  # fmt: skip
    inventory = local_inventory("a", "b", "elsewhere")
    directory = tmp_path_factory.mktemp("mixed")
    play = playbook(*tasks, hosts="a,b")
    return run(order(directory, play, hosts=("a", "b"), inventory=inventory))


@pytest.mark.parametrize(
    ("name", "status", "message", "rc"),
    [
        ("say", HostStatus.OK, "hello from a", None),
        ("stay", HostStatus.OK, "", 0),
        ("change", HostStatus.CHANGED, "", 0),
        ("skip", HostStatus.SKIPPED, "Conditional result was False", None),
        ("ignore", HostStatus.IGNORED, "non-zero return code", 4),
        ("try", HostStatus.FAILED, "non-zero return code", 5),
        ("rescue", HostStatus.OK, "rescued", None),
        ("inherited", HostStatus.OK, "inherits", None),
        ("loop", HostStatus.IGNORED, "7: said 7\n8: said 8", None),
        ("hush", HostStatus.IGNORED, "hidden: no_log is set for this task", None),
        ("break", HostStatus.FAILED, "first\nthe disk is full", 9),
    ],
)
def test_each_result_is_recorded_with_the_hosts_own_words(
    mixed: Seen, name: str, status: HostStatus, message: str, rc: int | None
) -> None:
    result = mixed.results(name)["a"]
    assert (result.status, result.message, result.rc) == (status, message, rc)


def test_a_mixed_stage_failed_and_says_where(mixed: Seen) -> None:
    assert mixed.result.outcome is Outcome.FAILED
    assert mixed.result.reason == "1 host failed: a; 1 host could not be reached: b"
    assert mixed.results("unreachable")["b"].status is HostStatus.UNREACHABLE
    assert "Connection refused" in mixed.results("unreachable")["b"].message
    assert "after" not in {event.step for event in mixed.events if hasattr(event, "host")}


def test_ansibles_own_counts_are_kept(mixed: Seen) -> None:
    counts = mixed.result.hosts["a"]
    assert (counts.failures, counts.rescued, counts.ignored, counts.skipped) == (1, 1, 4, 2)
    assert mixed.result.hosts["b"].unreachable == 1


def test_output_is_kept_with_size_and_digest(mixed: Seen) -> None:
    output = mixed.results("stay")["a"].output
    assert output
    assert (output.text, output.bytes) == ("out\nerr", 7)
    assert output.sha256 == hashlib.sha256(b"out\nerr").hexdigest()


def test_attempts_items_delegates_and_single_runs_are_told(mixed: Seen) -> None:
    assert {(e.host, e.attempt, e.attempts) for e in mixed.events if isinstance(e, Retried)} == {
        ("a", 1, 2),
        ("b", 1, 2),
    }
    assert mixed.results("loop")["a"].item_count == 3
    assert mixed.results("delegate")["a"].delegate == "elsewhere"
    assert [e.step for e in mixed.events if isinstance(e, TaskStarted) and e.once] == ["once"]
    assert set(mixed.results("once")) == {"a"}


def test_times_are_aware_and_in_order(mixed: Seen) -> None:
    for result in mixed.results("change").values():
        assert result.started.tzinfo
        assert result.started <= result.ended


def test_no_log_hides_what_was_printed(mixed: Seen) -> None:
    assert b"confidential" not in kept_bytes(mixed.result.journal.parent)


def test_the_journal_on_disk_is_what_was_handed_on(mixed: Seen) -> None:
    events, journal = read_journal(mixed.result.journal)
    assert events == mixed.events
    assert [event.seq for event in events] == list(range(len(events)))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    assert journal.digest == mixed.result.journal_digest
    assert f"sha256:{hashlib.sha256(mixed.result.journal.read_bytes()).hexdigest()}" == mixed.result.journal_digest


def test_only_journal_and_output_stay_and_only_for_us(mixed: Seen) -> None:
    kept = sorted(mixed.result.journal.parent.iterdir())
    assert [path.name for path in kept] == ["journal.jsonl", "output.log"]
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_a_stage_that_works_succeeds(tmp_path: Path) -> None:
    (tmp_path / "roles/greet/tasks").mkdir(parents=True)
    (tmp_path / "roles/greet/tasks/main.yml").write_text("- ansible.builtin.debug: {msg: from the role}\n")
    (tmp_path / "content/files").mkdir(parents=True)
    (tmp_path / "content/files/motd").write_text("new\n")
    (tmp_path / "motd").write_text("old\n")
    (tmp_path / "content/more.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.ping: }]\n"
    )
    tasks = [
        step("role", "include_role", {"name": "greet"}),
        step("copy", "copy", {"src": "motd", "dest": str(tmp_path / "motd")}),
    ]
    plays = playbook(*tasks)[:-1] + b', {"import_playbook": "more.yml", "vars": {"opsascode_step": "imported"}}]'
    seen = run(
        order(tmp_path, plays, roles_path=(tmp_path / "roles",), content=tmp_path / "content", diff=True, check=True)
    )
    assert (seen.result.outcome, seen.result.reason) == (Outcome.SUCCEEDED, "1 host done, 1 changed")
    assert seen.results("role")["a"].message == "from the role"
    assert seen.results("imported")["a"].status is HostStatus.OK
    difference = seen.results("copy")["a"].diff
    assert difference
    assert "-old\n+new\n" in difference.text
    assert (tmp_path / "motd").read_text() == "old\n"
    assert sorted(path.name for path in (tmp_path / "content").iterdir()) == ["files", "more.yml"]


REFUSALS = {
    "no YAML": (b"- hosts: [", "YAML"),
    "an unknown module": (b"- hosts: all\n  tasks: [{no_such_module: {}}]", "no_such_module"),
    "an unknown role": (b"- hosts: all\n  roles: [no_such_role]", "no_such_role"),
    "no host": (b"- hosts: stranger\n  tasks: []", "no host took part: nothing was done"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_ansible_refuses_failed_in_its_own_words(tmp_path: Path, name: str) -> None:
    content, words = REFUSALS[name]
    seen = run(order(tmp_path, content))
    assert seen.result.outcome is Outcome.FAILED
    assert words in seen.result.reason
    assert "\n" not in seen.result.reason
    assert str(tmp_path) not in seen.result.reason


def test_a_host_that_was_ordered_and_not_acted_on_makes_the_outcome_unknown(tmp_path: Path) -> None:
    content = playbook(step("say", "debug", {"msg": "x"}), hosts="a")
    seen = run(order(tmp_path, content, hosts=("a", "b")))
    assert (seen.result.outcome, seen.result.reason) == (Outcome.INDETERMINATE, "no result came from b")


def test_hosts_outside_the_order_are_left_alone(tmp_path: Path) -> None:
    seen = run(order(tmp_path, playbook(shell("touch", "true")), inventory=local_inventory("a", "b", "c")))
    assert set(seen.result.hosts) == {"a"}


def test_a_stage_for_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="without hosts"):
        run(order(tmp_path, playbook(), hosts=()))


def test_a_journal_is_never_continued(tmp_path: Path) -> None:
    ordered = order(tmp_path, playbook())
    ordered.directory.mkdir()
    (ordered.directory / "journal.jsonl").touch()
    with pytest.raises(EngineError, match="exists already"):
        run(ordered)


def test_hostile_output_changes_nothing(tmp_path: Path) -> None:
    noise = "\\033[K text \\033[4D\\033[K\\033]0;title\\007\\033[2J\\r\\n"
    tasks = [
        shell("print", f"printf '{noise}'; printf '{noise}' >&2; exit 1", ignore_errors=True),
        {**shell("title", "true"), "name": "\x1b[K a title"},
        step("message", "fail", {"msg": "\x1b[K a message"}, ignore_errors=True),
        shell("null", "printf 'a\\0b' ; printf 'caf\\0' >&2; exit 1", ignore_errors=True),
        shell("bytes", "printf 'caf\\351'", ignore_errors=True),
        shell("flood", "head -c 5242880 /dev/zero | tr '\\0' x; exit 1", ignore_errors=True),
    ]
    seen = run(order(tmp_path, playbook(*tasks)))
    assert seen.result.outcome is Outcome.SUCCEEDED
    assert list(seen.result.hosts) == ["a"]
    for event in seen.events:
        assert not any(control in str(getattr(event, "message", "")) for control in "\x1b\r\x07\0")
        assert "\x1b" not in str(getattr(event, "name", ""))
    assert seen.results("message")["a"].message == "\\x1b[K a message"
    assert seen.results("null")["a"].message == "caf\\x00"
    assert "bytes" in {task.step for task in seen.events if isinstance(task, HostResult)}
    null = seen.results("null")["a"].output
    assert null
    assert null.sha256 == hashlib.sha256(b"a\0b\ncaf\0").hexdigest()
    flood = seen.results("flood")["a"].output
    assert flood
    assert (flood.bytes, len(flood.text)) == (5242880, 8192)
    assert flood.sha256 == hashlib.sha256(b"x" * 5242880).hexdigest()
    assert seen.result.journal.stat().st_size < 100_000


def test_secrets_reach_the_task_and_nothing_else(tmp_path: Path) -> None:
    watched: dict[str, Any] = {"processes": set()}

    def look(_event: object) -> None:
        watched["processes"] |= processes_with("6 * 7")

    tasks = [
        step("write", "copy", {"content": "{{ token }}", "dest": str(tmp_path / "target")}, diff=True),
        step("show", "debug", {"msg": "{{ token }} {{ token | b64encode }} {{ ('user:' ~ token) | b64encode }}"}),
        step("quote", "debug", {"msg": "{{ token | urlencode }} {{ token | to_json }} {{ token | quote }}"}),
        shell("leak", "cat {{ file }}; cat {{ file }} >&2; exit 1", ignore_errors=True),
        step("fail", "fail", {"msg": "the token {{ token }} is wrong"}),
    ]
    secrets = {"token": SECRET, "file": str(tmp_path / "target")}
    seen = run(order(tmp_path, playbook(*tasks), secrets=secrets, diff=True, verbosity=3), on_event=look)
    assert (tmp_path / "target").read_text() == SECRET
    assert seen.results("fail")["a"].message == "the token [secret] is wrong"
    assert seen.results("show")["a"].message.startswith("[secret] [secret] dXNlcj")
    kept = kept_bytes(seen.result.journal.parent)
    for part in (
        SECRET,
        SECRET.replace('"', '\\"'),
        "k8s%20%22key",
        "6 * 7",
        base64.b64encode(SECRET.encode()).decode()[:-4],
    ):
        assert part.encode() not in kept
    assert watched["processes"] == set()


def test_the_callers_environment_does_not_reach_tasks(tmp_path: Path) -> None:
    environ = {
        "CI_TOKEN": "canary-1",
        "ANSIBLE_STDOUT_CALLBACK": "minimal",
        "PYTHONPATH": "/nowhere",
        "AWS_REGION": "x",
    }
    seen = run(order(tmp_path, playbook(shell("env", "env")), environ=environ, allow=["AWS_*"]))
    output = seen.results("env")["a"].output
    assert output
    names = {line.partition("=")[0] for line in output.text.splitlines()}
    assert "AWS_REGION" in names
    assert names.isdisjoint({"CI_TOKEN", "PYTHONPATH", "OPSASCODE_JOURNAL", "OPSASCODE_SECRETS"})


def test_the_settings_of_the_order_count_and_host_keys_are_checked_in_any_case(tmp_path: Path) -> None:
    ordered = order(tmp_path, playbook(step("show", "debug", {"msg": "{{ lookup('config', 'DEFAULT_TIMEOUT') }} "
        "{{ lookup('config', 'HOST_KEY_CHECKING') }}"})))  # fmt: skip
    ordered = replace(ordered, settings=b"[defaults]\ntimeout = 42\nhost_key_checking = False\n")
    assert run(ordered).results("show")["a"].message == "42 True"


def test_nothing_waits_for_an_answer(tmp_path: Path) -> None:
    prompt = [{"name": "answer", "prompt": "?", "default": "none"}]
    tasks = (step("pause", "pause", {"prompt": "press enter"}), step("show", "debug", {"msg": "{{ answer }}"}))
    seen = run(order(tmp_path, playbook(*tasks, vars_prompt=prompt), timeout_seconds=60))
    assert seen.results("show")["a"].message == "none"


def test_a_slow_reader_loses_nothing(tmp_path: Path) -> None:
    tasks = [step(f"s{number}", "debug", {"msg": "x"}) for number in range(8)]
    seen = run(order(tmp_path, playbook(*tasks), hosts=("a", "b")), on_event=lambda _event: time.sleep(0.1))
    assert seen.result.outcome is Outcome.SUCCEEDED
    assert seen.events == read_journal(seen.result.journal)[0]


@pytest.mark.parametrize("name", ["a,b", "a:b", "!b", "&b", "a b", "a\n", "", "a\x1b"])
def test_a_name_by_which_ansible_would_reach_others_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError, match="for the name of one host"):
        run(order(tmp_path, playbook(), hosts=(name,)))


def test_an_address_is_a_name() -> None:
    assert unusable(["2001:db8::1", "10.0.0.1", "web-1.example.org", "web_1", "~web", "*"]) == ()
