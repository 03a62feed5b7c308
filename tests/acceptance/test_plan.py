"""`opsascode plan` settles everything before anything starts, always the same way, and touches nothing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.trust import install
from tests.world import COMMAND, World, new_world

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
- id: hello
  task: {ansible.builtin.command: "echo hello {{ who }}"}
"""
WHO = {"parameters": "{who: {type: string, default: world, pattern: '^[a-z ]+$'}}"}


def digest(world: World, *words: str) -> str:
    answer = world.ops("plan", *words, "--format", "json")
    assert answer.code == 0, answer.err
    found = answer.json["digest"]
    assert isinstance(found, str)
    return found


def test_a_plan_shows_hosts_waves_steps_parameters_verdict_and_digest(shared: World) -> None:
    shared.runbook("shown", HELLO, **WHO, targets="{hosts: web, waves: [1, '100%']}")
    answer = shared.ops("plan", "shown", "-e", "who=moon")
    assert answer.code == 0, answer.err
    for words in (
        "wave 1 of 2: 1 host: web1",
        "wave 2 of 2: 2 hosts: web2, web3",
        'who = "moon"',
        "3 of 4 hosts (web)",
        "hello",
        "guardrails  passed",
        "sha256:",
    ):
        assert words in answer.out


def test_planning_writes_nothing_outside_the_cache(world: World) -> None:
    world.runbook("quiet", HELLO, **WHO)
    world.commit()
    assert world.ops("plan", "quiet").code == 0
    assert not world.state.exists()
    assert world.git("status", "--porcelain") == ""


def test_the_same_inputs_give_the_same_digest_in_two_clones(world: World, tmp_path: Path) -> None:
    world.runbook("same", HELLO, **WHO)
    world.write("playbooks/files/motd", "hello\n")
    world.commit()
    other = World(home=tmp_path / "other")
    other.home.mkdir()
    subprocess.run(["git", "clone", "--quiet", world.root, other.root], check=True, env=world.variables())
    assert digest(world, "same") == digest(other, "same")


@pytest.mark.parametrize(
    "change",
    [
        ("playbooks/digest.yml", "\n# a comment\n"),
        ("inventories/local.yml", "    extra: {hosts: {web4: {}}}\n"),
        ("playbooks/files/motd", "changed\n"),
        ("playbooks/ansible/roles/x/tasks/main.yml", "- ansible.builtin.debug:\n"),
        ("policies/new.yml", None),
        ("opsascode.yml", "\n# a comment\n"),
    ],
    ids=lambda change: change[0],
)
def test_whatever_a_plan_was_resolved_from_is_in_its_digest(world: World, change: tuple[str, str | None]) -> None:
    world.runbook("digest", HELLO, **WHO)
    world.write("playbooks/files/motd", "hello\n")
    world.write("playbooks/ansible/roles/x/tasks/main.yml", "- ansible.builtin.ping:\n")
    world.commit()
    before = digest(world, "digest")
    path, text = change
    guardrail = """
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {name: new}
        spec: {require: {max_hosts: 100}, reason: a limit}
        """
    if text is None:
        world.write(path, guardrail)
    else:
        place = world.root / path
        place.write_text(place.read_text() + text)
    assert digest(world, "digest") != before


def test_parameters_and_limit_are_in_the_digest(shared: World) -> None:
    shared.runbook("inputs", HELLO, **WHO)
    digests = {
        digest(shared, "inputs"),
        digest(shared, "inputs", "-e", "who=moon"),
        digest(shared, "inputs", "--limit", "web1"),
        digest(shared, "inputs", "--limit", "web1,web2"),
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("words", "hosts"),
    [
        ((), ["web1", "web2", "web3"]),
        (("--limit", "web2"), ["web2"]),
        (("--limit", "web:!web2"), ["web1", "web3"]),
        (("--limit", "web[0:1]"), ["web1", "web2"]),
        (("--limit", "~web[13]"), ["web1", "web3"]),
        (("--limit", "web:&db"), None),
        (("--limit", "db1"), None),
        (("-i", "web9,"), None),
    ],
)
def test_limits_mean_what_they_mean_to_ansible_and_nothing_left_is_a_failure(
    shared: World, words: tuple[str, ...], hosts: list[str] | None
) -> None:
    shared.runbook("limited", HELLO, **WHO)
    answer = shared.ops("plan", "limited", *words, "--format", "json")
    if hosts is None:
        assert answer.code == 2
        assert "matches none of the" in json.loads(answer.err)["message"]
    else:
        assert answer.json["plan"]["waves"] == [hosts]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-e", "who=WORLD"), "does not match"),
        (("-e", "whom=me"), "no such parameter"),
        (("-e", "who"), "is no parameter"),
        (("-e", "count=many"), "not a whole number"),
        (("-e", "count=9"), "more than 5"),
        (("-e", "mode=slow"), "allowed values"),
        (("-e", "token=abc"), "command line"),
        (("-e", "@missing.yml"), "cannot be read"),
        ((), "token: is required"),
    ],
)
def test_a_wrong_parameter_is_told_with_the_reason_and_exit_code_2(
    shared: World, words: tuple[str, ...], says: str
) -> None:
    shared.runbook(
        "typed",
        """
        - id: use
          task: {ansible.builtin.command: "echo {{ who }} {{ count }} {{ mode }} {{ token }}"}
        """,
        parameters=(
            "{who: {type: string, default: world, pattern: '^[a-z]+$'}, count: {type: integer, default: 1, maximum: 5},"
            " mode: {type: string, enum: [fast, safe], default: safe}, token: {type: string, secret: true}}"
        ),
    )
    answer = shared.ops("plan", "typed", *words)
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_parameters_come_from_a_file_and_words_override_it(shared: World) -> None:
    shared.runbook("filed", HELLO, **WHO)
    shared.write("given.yml", "who: file\n")
    from_file = shared.ops("plan", "filed", "-e", "@given.yml", "--format", "json").json
    overridden = shared.ops("plan", "filed", "-e", "@given.yml", "-e", "who=word", "--format", "json").json
    assert from_file["plan"]["parameters"]["who"] == {"value": "file"}
    assert overridden["plan"]["parameters"]["who"] == {"value": "word"}


@pytest.mark.parametrize(
    ("targets", "code"),
    [
        ("{hosts: web, max_hosts: 2}", 4),
        ("{hosts: web, max_hosts: 3}", 0),
        ("{hosts: web, max_percent: 50}", 4),
        ("{hosts: web, max_percent: '75%'}", 0),
        ("{hosts: web, variables: [http_port]}", 2),
        ("{hosts: nowhere}", 2),
    ],
)
def test_the_blast_radius_and_needed_variables_are_settled_before_the_start(
    shared: World, targets: str, code: int
) -> None:
    shared.runbook("radius", HELLO if "variables" not in targets else HELLO.replace("{{ who }}", "{{ who }} {{ http_port }}"),
                   **WHO, targets=targets)  # fmt: skip
    answer = shared.ops("plan", "radius")
    assert answer.code == code, answer.out + answer.err


def test_a_dirty_tree_is_marked_and_a_guardrail_can_refuse_it(world: World) -> None:
    world.runbook("dirty", HELLO, **WHO)
    world.write("policies/clean.yml", """
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {name: clean-only}
        spec: {applies_to: {groups: [db]}, require: {clean_tree: true}, reason: databases change from Git only}
        """)  # fmt: skip
    assert "uncommitted changes" in world.ops("plan", "dirty").out
    refused = world.ops("plan", "dirty", "--limit", "db1", "-i", "inventories/local.yml")
    assert refused.code == 2  # db1 is not in the runbook's pattern
    world.runbook("dirty", HELLO, **WHO, targets="{hosts: all}")
    refused = world.ops("plan", "dirty")
    assert refused.code == 4
    assert "databases change from Git only" in refused.out
    assert "policies/clean.yml:" in refused.out
    world.commit()
    assert world.ops("plan", "dirty").code == 0


def test_a_plan_says_who_will_be_asked_and_what_else_happens_beside_the_steps(world: World) -> None:
    between = "between_waves: {pause: 90s, checks: [{id: soak, check: {command: 'true'}}]}"
    world.runbook(
        "approved",
        HELLO,
        **{**WHO, "targets": f"{{hosts: web, waves: [1, 2], max_fail_percent: 10, {between}}}"},
        approval="{required: 2, role: incident-commander}",
        timeout="30m",
        lock="[failover]",
        on_failure="undo",
    )
    install(world, apply=True)
    answer = world.ops("plan", "approved")
    assert answer.code == 0, answer.out + answer.err
    for told in (
        "asks before anything is done: 2 approval(s) with the role incident-commander",
        "pause after wave 1: 1m30s",
        "checks after wave 1: soak",
        "while at most 10% of a wave failed: go on without them",
        "timeout     30m00s",
        "locks       failover",
    ):
        assert told in answer.out


def test_the_compiled_playbook_runs_with_plain_ansible_and_gives_the_same_changes(world: World, tmp_path: Path) -> None:
    ours, plain = tmp_path / "ours", tmp_path / "plain"
    world.runbook(
        "twice",
        """
        - id: directory
          task: {ansible.builtin.file: {path: "{{ place }}/{{ inventory_hostname }}", state: directory, mode: "0755"}}
        - id: motd
          task: {ansible.builtin.copy: {src: motd, dest: "{{ place }}/{{ inventory_hostname }}/motd", mode: "0644"}}
          register: copied
        - id: checked
          check: {command: "cat {{ place }}/{{ inventory_hostname }}/motd", expect: {contains: "welcome"}}
        - id: noted
          when: copied is changed
          task:
            ansible.builtin.copy: {content: "{{ copied.checksum }}", dest: "{{ place }}/{{ inventory_hostname }}/sum", mode: "0644"}
        - id: role
          role: {name: greeter, vars: {greeter_place: "{{ place }}"}}
        - id: imported
          playbook: playbooks/ansible/more.yml
        """,
        parameters="{place: {type: string}}",
    )
    world.write("playbooks/files/motd", "welcome\n")
    world.write("playbooks/roles/greeter/tasks/main.yml", """
        - name: Greet
          ansible.builtin.copy: {content: "{{ ansible_facts.system }}", dest: "{{ greeter_place }}/{{ inventory_hostname }}/system", mode: "0644"}
        """)  # fmt: skip
    world.write("playbooks/ansible/more.yml", """
        - name: More
          hosts: web
          gather_facts: false
          tasks:
            - name: Touch
              ansible.builtin.copy: {content: more, dest: "{{ greeter_place | default('/nowhere') | dirname }}/more-{{ inventory_hostname }}", mode: "0644"}
              when: greeter_place is defined
        """)  # fmt: skip
    world.commit()
    for place in (ours, plain):
        place.mkdir()
    run = world.ops("run", "twice", "-e", f"place={ours}", "-y")
    assert run.code == 0, run.out + run.err
    playbook = world.ops("plan", "twice", "-e", f"place={plain}", "--playbook").out
    assert world.ops("plan", "twice", "-e", f"place={plain}", "--playbook").out == playbook
    place = world.write("playbooks/compiled.yml", playbook)
    done = subprocess.run(
        [COMMAND.parent / "ansible-playbook", "-i", world.root / "inventories/local.yml", "--limit", "web", place],
        env=world.variables(), cwd=world.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert _tree(ours) == _tree(plain) != {}


def test_a_value_somebody_gave_is_never_evaluated(shared: World, tmp_path: Path) -> None:
    place = tmp_path / "owned"
    shared.runbook("inert", """
        - id: say
          task: {ansible.builtin.debug: {msg: "{{ who }}"}}
        """, parameters="{who: {type: string}}")  # fmt: skip
    evil = f"{{{{ lookup('pipe', 'touch {place}') }}}}"
    answer = shared.ops("run", "inert", "-e", f"who={evil}", "-y", "--limit", "web1", "--format", "json")
    assert answer.code == 0, answer.out + answer.err
    assert not place.exists()
    results = [line for line in answer.lines if line["event"] == "result"]
    assert [line["message"] for line in results] == [evil]
    compiled = yaml.compose(shared.ops("plan", "inert", "-e", f"who={evil}", "--playbook").out)
    assert "!unsafe" in {token.tag for token in _scalars(compiled)}


def test_a_plan_without_git_is_marked_so(tmp_path: Path) -> None:
    world = new_world(tmp_path / "home")
    (world.root / ".git").rename(tmp_path / "gone")
    world.runbook("nogit", HELLO, **WHO)
    assert "not in Git" in world.ops("plan", "nogit").out


def _tree(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in sorted(place.rglob("*")) if path.is_file()}


def _scalars(node: object) -> list[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        return [node]
    if isinstance(node, yaml.SequenceNode):
        return [scalar for item in node.value for scalar in _scalars(item)]
    if isinstance(node, yaml.MappingNode):
        return [scalar for pair in node.value for item in pair for scalar in _scalars(item)]
    return []
