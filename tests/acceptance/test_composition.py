"""Composition: runbooks of runbooks with parameters and outputs, loops, conditions on what came before, handlers."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.acceptance.runs import lines_of, statuses
from tests.trust import install
from tests.world import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

PLACE = "place: {type: string}"
LOG = 'ansible.builtin.shell: "echo {} >> {{{{ place }}}}/log"'


def log(text: str) -> str:
    """A task that writes down what it did."""
    return f"{{{LOG.format(text)}}}"


def part(world: World, name: str = "part") -> None:
    """A runbook that others run: one parameter, one registered result, one output."""
    world.runbook(
        name,
        f"""
        - id: install
          task: {log("install {{ name }} on {{ inventory_hostname }}")}
        - id: ask
          check: {{command: "echo {{{{ name }}}}-1.2"}}
          register: {name}_answer
          outputs: {{{name}_version: "{{{{ {name}_answer.stdout }}}}"}}
        """,
        parameters=f"{{name: {{type: string}}, {PLACE}}}",
    )


def run(world: World, place: Path, *words: str) -> Any:
    place.mkdir(exist_ok=True)
    world.commit()
    return world.ops("run", "whole", "-e", f"place={place}", "-y", *words)


def test_parameters_go_in_and_outputs_come_out_on_each_host(world: World, tmp_path: Path) -> None:
    part(world)
    world.runbook(
        "whole",
        f"""
        - id: one
          runbook: part
          with: {{name: "{{{{ inventory_hostname }}}}", place: "{{{{ place }}}}"}}
          outputs: {{found: "{{{{ part_version }}}}"}}
        - id: use
          when: found == 'web1-1.2'
          task: {log("found {{ found }}")}
        """,
        parameters=f"{{{PLACE}}}",
        targets="{hosts: 'web1:web2'}",
    )
    answer = run(world, tmp_path)
    assert answer.code == 0, answer.out + answer.err
    assert sorted(lines_of(tmp_path / "log")) == ["found web1-1.2", "install web1 on web1", "install web2 on web2"]
    assert statuses(world)["web2"]["use"] == "skipped"
    results = json.loads(next((world.state / "runs").glob("*/results.json")).read_text())
    assert {host: values["found"] for host, values in results["outputs"].items()} == {
        "web1": "web1-1.2",
        "web2": "web2-1.2",
    }


def test_a_runbook_is_repeated_for_each_item_of_a_list(world: World, tmp_path: Path) -> None:
    part(world)
    world.runbook(
        "whole",
        """
        - id: each
          runbook: part
          loop: "{{ names }}"
          with: {name: "{{ item }}", place: "{{ place }}"}
        """,
        parameters=f"{{names: {{type: array, items: {{type: string}}, default: [api, 'web {{{{ x }}}}']}}, {PLACE}}}",
        targets="{hosts: web1}",
    )
    world.commit()
    planned = world.ops("plan", "whole", "-e", f"place={tmp_path}", "--format", "json").json
    steps = (
        [step["id"] for step in planned["plan"]["steps"]]
        if "plan" in planned
        else [step["id"] for step in planned["steps"]]
    )
    assert steps == ["each.1.install", "each.1.ask", "each.2.install", "each.2.ask"]
    answer = run(world, tmp_path, "-e", 'names=["api", "cache"]')
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log") == ["install api on web1", "install cache on web1"]


def test_tasks_checks_roles_and_notices_loop_and_later_steps_ask_what_changed(world: World, tmp_path: Path) -> None:
    world.write(
        "playbooks/roles/svc/tasks/main.yml",
        """
        - name: Configure
          ansible.builtin.shell: "echo configure {{ svc_name }} >> {{ place }}/log"
          notify: Restart
        """,
    )
    world.write(
        "playbooks/roles/svc/handlers/main.yml",
        """
        - name: Restart
          ansible.builtin.shell: "echo restart >> {{ place }}/log"
        """,
    )
    world.runbook(
        "whole",
        f"""
        - id: write
          task: {log("{{ item }}")}
          loop: [a, b]
          register: written
        - id: once-more
          when: written is changed
          task: {log("written")}
        - id: never
          when: written is not changed
          task: {log("never")}
        - id: look
          check: {{command: "grep -x {{{{ item }}}} {{{{ place }}}}/log"}}
          loop: "{{{{ written.results | map(attribute='item') | list }}}}"
        - id: role
          role: {{name: svc, vars: {{svc_name: "{{{{ item }}}}"}}}}
          loop: [x, y]
        - id: after
          task: {log("after")}
        - id: tell
          notify: {{message: "told {{{{ item }}}}"}}
          loop: [1, 2]
        """,
        parameters=f"{{{PLACE}}}",
        targets="{hosts: web1}",
    )
    answer = run(world, tmp_path)
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log") == ["a", "b", "written", "configure x", "configure y", "restart", "after"]
    assert statuses(world)["web1"] == {
        "write": "changed", "once-more": "changed", "never": "skipped", "look": "ok", "role": "changed", "after": "changed",
        "tell": "ok",
    }  # fmt: skip


def test_a_failed_handler_is_the_failure_of_the_step_that_notified_it(world: World, tmp_path: Path) -> None:
    world.write("playbooks/roles/svc/tasks/main.yml", "- {ansible.builtin.command: date, notify: Restart}\n")
    world.write("playbooks/roles/svc/handlers/main.yml", "- {name: Restart, ansible.builtin.command: 'false'}\n")
    world.runbook(
        "whole",
        f"- {{id: role, role: svc}}\n- {{id: after, task: {log('after')}}}",
        parameters=f"{{{PLACE}}}",
        targets="{hosts: web1}",
    )
    assert run(world, tmp_path).code == 1
    assert statuses(world)["web1"] == {"role": "failed"}
    assert lines_of(tmp_path / "log") == []


def test_a_composition_that_fails_undoes_each_part_with_what_it_registered(world: World, tmp_path: Path) -> None:
    world.runbook(
        "part",
        f"""
        - id: make
          task: {log("make {{ name }}")}
          register: made
          outputs: {{label: "{{{{ name }}}}-{{{{ made.rc }}}}"}}
          undo:
            task: {log("undo {{ name }} {{ made.rc }}")}
            check: {{command: "grep 'undo {{{{ name }}}}' {{{{ place }}}}/log"}}
        """,
        parameters=f"{{name: {{type: string}}, {PLACE}}}",
    )
    world.runbook(
        "whole",
        """
        - {id: each, runbook: part, loop: [a, b], with: {name: "{{ item }}{{ place | length }}", place: "{{ place }}"}}
        - {id: gate, task: {ansible.builtin.command: 'false'}}
        """,
        parameters=f"{{{PLACE}}}",
        targets="{hosts: web1}",
        on_failure="undo",
    )
    assert run(world, tmp_path).code == 1
    number = len(str(tmp_path))
    assert lines_of(tmp_path / "log") == [
        f"make a{number}",
        f"make b{number}",
        f"undo b{number} 0",
        f"undo a{number} 0",
    ]
    assert "what was completed has been undone" in world.ops("runs", "show", "latest").out


def test_circles_towers_and_clashes_are_refused_by_check(world: World) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        world.runbook(name, f"- {{id: s, runbook: {other}}}")
    for level in range(10):
        world.runbook(f"level{level}", f"- {{id: s, runbook: level{level + 1}}}")
    world.runbook("level10", "- {id: s, notify: {message: a}}")
    world.runbook("one", "- {id: s, check: {command: date}, register: same}")
    world.runbook("two", "- {id: s, check: {command: date}, register: same}\n- {id: t, runbook: one}")
    answer = world.ops("check")
    assert answer.code == 3
    for said in ("the runbook runs itself: a → b → c → a", "more than 8 deep", "one would overwrite the other"):
        assert said in answer.out


def test_a_playbook_with_questions_still_runs_under_plain_ansible(world: World, tmp_path: Path) -> None:
    world.runbook(
        "whole",
        f"""
        - id: first
          check: {{command: "echo {{{{ inventory_hostname }}}}"}}
          register: seen
        - id: go
          approval: {{message: "Look at {{{{ place }}}}"}}
        - id: second
          task: {log("second {{ seen.stdout }}")}
        """,
        parameters=f"{{{PLACE}}}",
        targets="{hosts: 'web1:web2'}",
    )
    install(world, apply=True)
    printed = world.ops("plan", "whole", "-e", f"place={tmp_path}", "--playbook")
    assert printed.code == 0, printed.err
    place = world.write("playbooks/printed.yml", printed.out)
    done = subprocess.run(
        [COMMAND.parent / "ansible-playbook", "-i", "inventories/local.yml", str(place)],
        cwd=world.root,
        env=world.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(lines_of(tmp_path / "log")) == ["second web1", "second web2"], done.stdout + printed.out
