"""`opsascode run` does what was planned, tells what came of it as it is, and leaves a record either way."""

from __future__ import annotations

import http.server
import json
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.world import World


def outcome(world: World) -> dict[str, object]:
    """The newest run, as the ledger has it."""
    found = world.ops("runs", "list", "-n", "1", "--format", "json").json[0]
    assert isinstance(found, dict)
    return found


def results(world: World, run: str = "latest") -> dict[str, dict[str, str]]:
    """Host to step to status."""
    shown = world.ops("runs", "show", run, "--format", "json").json
    return {host: {step["step"]: step["status"] for step in steps} for host, steps in shown["results"].items()}


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


class Service(http.server.BaseHTTPRequestHandler):
    """A small real service: /health answers 200, /flaky fails twice before it does, anything else is 500."""

    calls = 0

    def do_GET(self) -> None:
        Service.calls += 1
        good = self.path == "/health" or (self.path == "/flaky" and Service.calls > 2)
        self.send_response(200 if good else 500)
        self.end_headers()
        self.wfile.write(b"all is well" if good else b"out of order")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[int]:
    Service.calls = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_does_its_steps_in_order_and_records_what_came_of_each(world: World, tmp_path: Path) -> None:
    world.runbook(
        "good",
        """
        - id: probe
          check: {command: "test ! -e {{ place }}/{{ inventory_hostname }}"}
        - id: make
          task: {ansible.builtin.copy: {content: hi, dest: "{{ place }}/{{ inventory_hostname }}", mode: "0644"}}
          register: made
        - id: never
          when: made is not changed
          task: {ansible.builtin.command: "false"}
        - id: tell
          notify: {message: "made {{ made.dest }}"}
        """,
        parameters="{place: {type: string}}",
        targets="{hosts: web, waves: [1, '100%']}",
    )
    commit = world.commit()
    answer = world.ops("run", "good", "-e", f"place={tmp_path}", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert "succeeded" in answer.out
    assert "wave 2 of 2: 2 hosts" in answer.out
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("web")) == ["web1", "web2", "web3"]
    each = {"probe": "ok", "make": "changed", "never": "skipped"}
    found = results(world)
    assert {host: {step: status for step, status in steps.items() if step != "tell"} for host, steps in found.items()} == {
        "web1": each, "web2": each, "web3": each,
    }  # fmt: skip
    record = outcome(world)
    assert record["outcome"] == "succeeded"
    start, end = record["start"], record["end"]
    assert isinstance(start, dict)
    assert isinstance(end, dict)
    assert start["repository"] == {"commit": commit, "dirty": False}
    assert start["trigger"] == "manual"
    assert start["tools"]["ansible_core"]
    assert [stage["outcome"] for stage in end["stages"]] == ["succeeded", "succeeded"]
    assert end["results"]["hosts"] == 3
    assert end["results"]["failed"] == 0


def test_a_failed_step_shows_what_the_host_said_and_ends_with_1(shared: World) -> None:
    shared.runbook("bad", """
        - id: break
          task: {ansible.builtin.command: "sh -c 'echo the disk is on fire >&2; exit 3'"}
        - id: after
          task: {ansible.builtin.command: "true"}
        """)  # fmt: skip
    answer = shared.ops("run", "bad", "-y")
    assert answer.code == 1
    assert "the disk is on fire" in answer.out
    assert "non-zero return code" not in answer.out
    assert results(shared) == {host: {"break": "failed"} for host in ("web1", "web2", "web3")}
    assert outcome(shared)["outcome"] == "failed"


@pytest.mark.parametrize(
    ("on_failure", "touched"),
    [("stop", {"web1"}), ("continue", {"web1", "web2", "web3"}), ("undo", set())],
)
def test_a_failure_in_the_canary_wave_ends_the_run_as_the_runbook_says(
    world: World, tmp_path: Path, on_failure: str, touched: set[str]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    world.runbook(
        "waves",
        """
        - id: make
          task: {ansible.builtin.copy: {content: hi, dest: "{{ place }}/{{ inventory_hostname }}", mode: "0644"}}
          undo: {task: {ansible.builtin.file: {path: "{{ place }}/{{ inventory_hostname }}", state: absent}}}
        - id: verify
          check: {that: "inventory_hostname != 'web1'", message: "web1 is ill"}
        """,
        parameters="{place: {type: string}}",
        targets="{hosts: web, waves: [1, '100%']}",
        on_failure=on_failure,
    )
    answer = world.ops("run", "waves", "-e", f"place={place}", "-y")
    assert answer.code == 1
    assert "web1 is ill" in answer.out
    assert {path.name for path in place.iterdir()} == touched
    end = outcome(world)["end"]
    assert isinstance(end, dict)
    assert end["undone"] is (on_failure == "undo")


def test_undo_runs_in_reverse_order_only_what_a_host_completed_and_goes_on_past_a_failure(
    world: World, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    step = """
        - id: {0}
          task: {{ansible.builtin.shell: "echo {0} {{{{ inventory_hostname }}}} >> {{{{ log }}}}"}}
          undo: {{task: {{ansible.builtin.shell: "{1}"}}}}
        """
    undo = "echo undo-{0} {{{{ inventory_hostname }}}} >> {{{{ log }}}}"
    steps = (
        step.format("one", undo.format("one"))
        + step.format("two", "exit 9")
        + step.format("three", undo.format("three"))
    )
    world.runbook(
        "reverse",
        steps.replace("{{{{", "{{").replace("}}}}", "}}")
        + """
        - id: half
          when: inventory_hostname == 'web2'
          task: {ansible.builtin.shell: "echo half {{ inventory_hostname }} >> {{ log }}"}
          undo: {task: {ansible.builtin.shell: "echo undo-half {{ inventory_hostname }} >> {{ log }}"}}
        - id: fail
          task: {ansible.builtin.command: "false"}
        """,
        parameters="{log: {type: string}}",
        targets="{hosts: 'web1:web2'}",
        on_failure="undo",
    )
    answer = world.ops("run", "reverse", "-e", f"log={log}", "-y")
    assert answer.code == 1, answer.err
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [step for step, host in lines if host == "web1"] == ["one", "two", "three", "undo-three", "undo-one"]
    assert [step for step, host in lines if host == "web2"] == [
        "one", "two", "three", "half", "undo-half", "undo-three", "undo-one",
    ]  # fmt: skip
    assert "UNDO FAILED" in answer.out
    assert results(world)["web1"]["undo.two"] == "ignored"


def test_checks_look_at_real_things_and_say_what_they_found(shared: World, service: int) -> None:
    shared.runbook(
        "checks",
        """
        - id: healthy
          check: {http: "http://127.0.0.1:{{ port }}/health", expect: {status: 200, contains: "all is well"}}
        - id: open
          check: {tcp: "127.0.0.1:{{ port }}"}
        - id: command
          check: {command: [echo, "version 7"], expect: {matches: "version [0-9]+"}}
        - id: condition
          check: {that: ["port > 0", "inventory_hostname in groups['web']"]}
        - id: flaky
          check: {http: "http://127.0.0.1:{{ port }}/flaky", from: controller}
          retry: {attempts: 4, delay: 1s}
        """,
        parameters="{port: {type: integer}}",
        targets="{hosts: web1}",
    )
    answer = shared.ops("run", "checks", "-e", f"port={service}", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert set(results(shared)["web1"].values()) == {"ok"}


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ('{http: "http://127.0.0.1:{{ port }}/broken"}', "500"),
        ('{http: "http://127.0.0.1:{{ port }}/health", expect: {contains: "no such words"}}', "no such words"),
        ('{http: "http://127.0.0.1:1/"}', "refused"),
        ('{tcp: "127.0.0.1:1"}', "127.0.0.1:1"),
        ("{command: \"sh -c 'echo cannot read config >&2; exit 2'\"}", "cannot read config"),
        ('{command: "echo all", expect: {contains: "everything"}}', "everything"),
        ('{that: "port < 0", message: "the port {{ port }} is no port"}', "is no port"),
    ],
)
def test_a_failing_check_changes_nothing_and_says_what_it_expected(
    shared: World, service: int, check: str, says: str
) -> None:
    shared.runbook("failing", f"- id: look\n  check: {check}\n  timeout: 2s\n- id: more\n  check: {{that: 'port > 0'}}",
                   parameters="{port: {type: integer}}", targets="{hosts: web1}")  # fmt: skip
    answer = shared.ops("run", "failing", "-e", f"port={service}", "-y")
    assert answer.code == 1
    assert says in answer.out, answer.out
    assert results(shared)["web1"] == {"look": "failed"}


def test_composed_runbooks_get_their_own_parameters_and_conditions(world: World, tmp_path: Path) -> None:
    world.runbook(
        "inner",
        """
        - id: write
          task: {ansible.builtin.copy: {content: "{{ text }} {{ name }}", dest: "{{ place }}/{{ name }}", mode: "0644"}}
        """,
        parameters="{name: {type: string}, text: {type: string, default: plain}, place: {type: string}}",
    )
    world.runbook(
        "outer",
        """
        - id: probe
          check: {command: "echo probed"}
          register: probe
        - id: first
          runbook: inner
          with: {name: "{{ name }}-one", text: "{{ probe.stdout }}", place: "{{ place }}"}
        - id: second
          when: probe.stdout == 'something else'
          runbook: inner
          with: {name: never, place: "{{ place }}"}
        - id: third
          runbook: inner
          with: {name: "{{ name }}", place: "{{ place }}"}
        """,
        parameters="{name: {type: string}, place: {type: string}}",
        targets="{hosts: web1}",
    )
    place = tmp_path / "place"
    place.mkdir()
    answer = world.ops("run", "outer", "-e", "name=a", "-e", f"place={place}", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert {path.name: path.read_text() for path in place.iterdir()} == {"a-one": "probed a-one", "a": "plain a"}
    assert results(world)["web1"]["second.write"] == "skipped"


def test_outputs_of_a_step_are_names_for_later_steps(shared: World) -> None:
    shared.runbook("outputs", """
        - id: probe
          check: {command: "echo 1.2.3"}
          register: probe
          outputs: {version: "{{ probe.stdout | trim }}"}
        - id: use
          check: {that: "version == '1.2.3'"}
        """, targets="{hosts: web1}")  # fmt: skip
    answer = shared.ops("run", "outputs", "-y")
    assert answer.code == 0, answer.out


def test_environment_timeout_delegation_and_run_once_reach_ansible(shared: World) -> None:
    shared.runbook("options", """
        - id: environment
          task: {ansible.builtin.shell: 'test "$GREETING" = hello'}
          environment: {GREETING: hello}
        - id: once
          task: {ansible.builtin.command: "true"}
          run_once: true
        - id: elsewhere
          check: {that: "true"}
          delegate_to: localhost
        - id: slow
          task: {ansible.builtin.command: "sleep 30"}
          timeout: 1s
        """, targets="{hosts: 'web1:web2'}")  # fmt: skip
    begun = time.monotonic()
    answer = shared.ops("run", "options", "-y")
    assert answer.code == 1
    assert time.monotonic() - begun < 25
    found = results(shared)
    assert found["web1"]["environment"] == "changed"
    assert sum("once" in steps for steps in found.values()) == 1
    assert found["web1"]["slow"] == "failed"
    assert "1 second" in answer.out


def test_exactly_the_plan_in_a_file_is_run(world: World, tmp_path: Path) -> None:
    world.runbook("filed", """
        - id: write
          task: {ansible.builtin.copy: {content: "{{ ratio }} {{ names | join(',') }}", dest: "{{ place }}", mode: "0644"}}
        """, parameters="{place: {type: string}, ratio: {type: number}, names: {type: array, items: {type: string}}}",
        targets="{hosts: web1}")  # fmt: skip
    world.commit()
    plan, place = tmp_path / "plan.json", tmp_path / "written"
    made = world.ops("plan", "filed", "-e", f"place={place}", "-e", "ratio=0.25", "-e", "names=a,b", "--out", plan)
    assert made.code == 0, made.err
    answer = world.ops("run", plan, "-y")
    assert answer.code == 0, answer.out + answer.err
    assert place.read_text() == "0.25 a,b"
    start = outcome(world)["start"]
    assert isinstance(start, dict)
    assert start["plan"] in made.out


@pytest.mark.parametrize("moved", ["runbook", "inventory", "content", "commit", "plan"])
def test_a_plan_is_refused_when_anything_it_was_resolved_from_has_moved(
    world: World, tmp_path: Path, moved: str
) -> None:
    world.runbook("moving", """
        - id: touch
          task: {ansible.builtin.copy: {src: data, dest: "{{ place }}", mode: "0644"}}
        """, parameters="{place: {type: string}}", targets="{hosts: web1}")  # fmt: skip
    world.write("playbooks/files/data", "one")
    world.commit()
    plan, place = tmp_path / "plan.json", tmp_path / "written"
    world.ops("plan", "moving", "-e", f"place={place}", "--out", plan)
    paths = {
        "runbook": "playbooks/moving.yml",
        "inventory": "inventories/local.yml",
        "content": "playbooks/files/data",
        "commit": "README.md",
    }
    if moved == "plan":
        body = json.loads(plan.read_bytes())
        body["waves"] = [["db1"]]
        plan.write_text(json.dumps(body))
    else:
        target = world.root / paths[moved]
        target.write_text((target.read_text() if target.exists() else "") + "\n# moved\n    \n")
        if moved == "inventory":
            target.write_text(target.read_text().replace("web2: {}", "web2: {new: 1}"))
        world.commit()
    answer = world.ops("run", plan, "-y")
    assert answer.code == 4, answer.out + answer.err
    assert "not what was planned" in answer.err
    assert not place.exists()
    assert not world.ledger.exists()


def test_a_secret_is_used_and_stands_nowhere_afterwards(world: World, tmp_path: Path) -> None:
    secret = "c4n4ry/s3cret+value"  # noqa: S105 - the canary of this test
    world.runbook("secretive", """
        - id: use
          task: {ansible.builtin.shell: 'echo "got {{ token }}" && printf %s "{{ token }}" > {{ place }}'}
        - id: show
          task: {ansible.builtin.debug: {msg: "the token is {{ token }}"}}
        - id: fail
          task: {ansible.builtin.command: "sh -c 'echo bad token {{ token }} >&2; exit 1'"}
        """, parameters="{token: {type: string, secret: true}, place: {type: string}}", targets="{hosts: web1}")  # fmt: skip
    place = tmp_path / "out"
    answer = world.ops("run", "secretive", "-e", f"place={place}", "-y", OPSASCODE_PARAM_TOKEN=secret)
    assert answer.code == 1
    assert place.read_text() == secret
    assert "bad token [secret]" in answer.out
    needle = secret.encode()
    for path in (world.home).rglob("*"):
        if path.is_file():
            assert needle not in path.read_bytes(), path
    assert secret not in answer.out + answer.err


def test_a_secret_in_another_parameter_is_refused_as_it_would_be_recorded(world: World) -> None:
    world.runbook("leaky", """
        - id: use
          task: {ansible.builtin.uri: {url: "{{ url }}", headers: {token: "{{ token }}"}}}
        """, parameters="{token: {type: string, secret: true}, url: {type: string}}")  # fmt: skip
    secret = "hunter2"  # noqa: S105 - the secret of this test
    answer = world.ops("run", "leaky", "-e", f"url=http://x/?t={secret}", "-y", OPSASCODE_PARAM_TOKEN=secret)
    assert answer.code == 2
    assert "holds the value of the secret token" in answer.err
    assert secret not in answer.err
    assert not world.ledger.exists()


def test_ctrl_c_stops_the_run_closes_the_record_and_leaves_no_process(world: World, tmp_path: Path) -> None:
    marker = tmp_path / "sleeper"
    world.runbook("long", """
        - id: wait
          task: {ansible.builtin.shell: "echo $$ > {{ marker }}; exec sleep 300"}
        - id: after
          task: {ansible.builtin.command: "touch {{ marker }}.after"}
        """, parameters="{marker: {type: string}}", targets="{hosts: web1}")  # fmt: skip
    process = world.start("run", "long", "-e", f"marker={marker}", "-y")
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(marker.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert not alive(pid)
    assert not marker.with_suffix(".after").exists()
    assert outcome(world)["outcome"] == "canceled"
    assert world.ops("verify", "--all").code == 0


def test_a_canceled_run_undoes_what_it_completed_and_a_second_request_stops_the_undo(
    world: World, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    world.runbook("undoing", """
        - id: make
          task: {ansible.builtin.copy: {content: hi, dest: "{{ place }}/made", mode: "0644"}}
          undo: {task: {ansible.builtin.file: {path: "{{ place }}/made", state: absent}}}
        - id: slow
          task: {ansible.builtin.command: "touch {{ place }}/slow"}
          undo: {task: {ansible.builtin.shell: "if {{ hang }}; then touch {{ place }}/hanging; sleep 300; fi"}}
        - id: wait
          task: {ansible.builtin.shell: "touch {{ place }}/waiting; sleep 300"}
        """, parameters="{place: {type: string}, hang: {type: string, enum: ['true', 'false']}}",
        targets="{hosts: web1}", on_failure="undo")  # fmt: skip

    def wait_for(name: str) -> None:
        deadline = time.monotonic() + 30
        while not (place / name).exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    process = world.start("run", "undoing", "-e", f"place={place}", "-e", "hang=false", "-y")
    wait_for("waiting")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "stopping" in err
    assert not (place / "made").exists()
    assert results(world)["web1"]["undo.make"] == "changed"

    (place / "waiting").unlink()
    process = world.start("run", "undoing", "-e", f"place={place}", "-e", "hang=true", "-y")
    wait_for("waiting")
    process.send_signal(signal.SIGINT)
    wait_for("hanging")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "UNDO FAILED" in out
    assert world.ops("verify", "--all").code == 0


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(world: World, tmp_path: Path) -> None:
    world.runbook("unheard", """
        - id: first
          task: {ansible.builtin.command: "sleep 1"}
        - id: last
          task: {ansible.builtin.command: "touch {{ place }}"}
        """, parameters="{place: {type: string}}", targets="{hosts: web1}")  # fmt: skip
    process = world.start("run", "unheard", "-e", f"place={tmp_path}/done", "-y")
    assert process.stdout
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert (tmp_path / "done").exists()
    assert outcome(world)["outcome"] == "succeeded"


def test_events_are_one_json_object_a_line(shared: World) -> None:
    shared.runbook("events", """
        - id: say
          task: {ansible.builtin.command: "echo hi"}
        """)  # fmt: skip
    answer = shared.ops("run", "events", "--format", "json")
    assert answer.code == 0
    kinds = [line["event"] for line in answer.lines]
    assert kinds[0] == "stage"
    assert kinds.count("result") == 3
    assert answer.lines[-1]["event"] == "end"
    assert answer.lines[-1]["outcome"] == "succeeded"
    assert len({line["run"] for line in answer.lines}) == 1


def test_whatever_a_host_prints_stays_text(shared: World) -> None:
    shared.runbook("hostile", r"""
        - id: print
          task: {ansible.builtin.shell: "printf '\\033[2J\\033]0;owned\\007\\342\\200\\256evil\\377' >&2; exit 1"}
        """, targets="{hosts: web1}")  # fmt: skip
    answer = shared.ops("run", "hostile", "-y")
    assert answer.code == 1
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    shown = shared.ops("runs", "show")
    assert "\x1b" not in shown.out
    assert results(shared) == {"web1": {"print": "failed"}}


def test_a_playbook_that_ansible_refuses_is_a_failure_with_ansibles_own_words(world: World) -> None:
    world.runbook("refused", """
        - id: import
          playbook: playbooks/ansible/broken.yml
        """)  # fmt: skip
    world.write("playbooks/ansible/broken.yml", """
        - hosts: all
          tasks:
            - no_such_module_anywhere: {}
        """)  # fmt: skip
    answer = world.ops("run", "refused", "-y")
    assert answer.code == 1
    assert "no_such_module_anywhere" in answer.out
    assert outcome(world)["outcome"] == "failed"


def test_a_state_directory_that_cannot_be_written_is_told_before_anything_runs(world: World, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a directory is needed")
    world.runbook("never", f"- id: touch\n  task: {{ansible.builtin.command: 'touch {tmp_path}/touched'}}")
    answer = world.ops("run", "never", "-y", XDG_STATE_HOME=str(blocked))
    assert answer.code != 0
    assert "Traceback" not in answer.err
    assert answer.err.startswith("error: ")
    assert not (tmp_path / "touched").exists()
