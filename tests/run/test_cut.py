"""A run is cut into stages; what is left of one is done once, in order, by exactly the hosts that have not done it."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from opsascode.errors import DocumentError, ResolveError
from opsascode.repo import open_repository
from opsascode.run import Request, Resolution, resolve
from opsascode.run._compose import FlatStep
from opsascode.run._plan import StageKind
from opsascode.run._resolve import rest_of, undo_of
from tests.run import staging
from tests.run.regenerate_plans import NAMES, make_repository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opsascode.run._journal import JournalEvent
    from opsascode.run._resolve import Stage

SECRETS = {"kinds": {"token": "t0p-secret"}}
VALUES: dict[str, dict[str, Any]] = {"leaf": {"name": "x"}}
HEAD = "apiVersion: opsascode/v1\nkind: Runbook\nmetadata: {{name: {name}}}\nspec:\n"


class _Loader(yaml.SafeLoader):
    """Reads playbooks, `!unsafe` included."""


_Loader.add_constructor("!unsafe", lambda _loader, node: str(node.value))


def resolved(root: Path, name: str, *, limit: str | None = None, values: Mapping[str, Any] | None = None) -> Resolution:
    repository = open_repository(root)
    request = Request(
        runbook=repository.runbook(name),
        limit=limit,
        secrets=SECRETS.get(name, {}),
        values=VALUES.get(name, {}) | dict(values or {}),
    )
    return resolve(repository, request, environ={"PATH": "/usr/bin:/bin"}, cache=None)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Resolution]:
    root = make_repository(tmp_path_factory.mktemp("golden"))
    return {name: resolved(root, name) for name in NAMES}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "ops")


def write(root: Path, name: str, body: str) -> None:
    text = HEAD.format(name=name) + "".join(f"  {line}\n" for line in body.strip("\n").splitlines())
    (root / "playbooks" / f"{name}.yml").write_text(
        text if "targets:" in text else f"{text}  targets: {{hosts: web}}\n"
    )


def plays_of(playbook: bytes) -> list[dict[str, Any]]:
    plays = yaml.load(playbook, Loader=_Loader)  # noqa: S506 - a safe loader, with one more tag
    assert isinstance(plays, list)
    return plays


def work_of(playbook: bytes, hosts: tuple[str, ...]) -> dict[str, list[str]]:
    """The steps each host takes, in order."""
    work: dict[str, list[str]] = {host: [] for host in hosts}
    for play in plays_of(playbook):
        if "tasks" not in play:
            taking = json.loads(play["when"].partition(" in ")[2]) if "when" in play else hosts
            steps = [play["vars"]["opsascode_step"]]
        else:
            taking = play["hosts"]
            steps = [task["vars"]["opsascode_step"] for task in play["tasks"] if "vars" in task]
        for host in taking:
            work[host] += [step for step, _ in itertools.groupby(steps)]
    return {host: [step for step, _ in itertools.groupby(steps)] for host, steps in work.items()}


def acting(resolution: Resolution) -> list[Stage]:
    return [stage for stage in resolution.stages if stage.flats]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_done_leaves_the_very_playbook_of_the_plan(golden: dict[str, Resolution], name: str) -> None:
    for stage in acting(golden[name]):
        assert rest_of(golden[name], stage, {}) == (stage.playbook, stage.hosts)


@pytest.mark.parametrize("name", NAMES)
def test_everything_done_leaves_nothing(golden: dict[str, Resolution], name: str) -> None:
    for stage in acting(golden[name]):
        assert rest_of(golden[name], stage, dict.fromkeys(stage.hosts, stage.steps)) is None


@pytest.mark.parametrize("seed", range(40))
def test_every_host_goes_on_from_its_own_first_step_not_done(golden: dict[str, Resolution], seed: int) -> None:
    """Whatever was done where: the rest is what a person would do, step by step, host by host."""
    chance = random.Random(seed)  # noqa: S311 - a test, to be repeated
    resolution = golden[chance.choice(NAMES)]
    stage = chance.choice(acting(resolution))
    done = {host: stage.steps[: chance.randint(0, len(stage.steps))] for host in stage.hosts}
    once = {flat.id for flat in stage.flats if isinstance(flat, FlatStep) and flat.once}
    done_once = {step for step in once if any(step in steps for steps in done.values())}
    expected = {}
    for host in stage.hosts:
        rest = [step for step in stage.steps if step not in done[host] and step not in done_once]
        begin = stage.steps.index(rest[0]) if rest else len(stage.steps)
        expected[host] = [step for step in stage.steps[begin:] if step not in done_once]
    made = rest_of(resolution, stage, done)
    taken = work_of(made[0], made[1]) if made else {}
    real = {host: [step for step in steps if step in stage.steps] for host, steps in taken.items()}
    assert real == {host: steps for host, steps in expected.items() if steps}


def test_hosts_left_out_take_no_step_and_excuse_nobody(golden: dict[str, Resolution]) -> None:
    stage = acting(golden["asked"])[-1]
    made = rest_of(golden["asked"], stage, {}, left_out=stage.hosts[:1])
    assert made is not None
    assert made[1] == stage.hosts[1:]
    assert set(work_of(*made)) == set(stage.hosts[1:])
    assert all("tell" in steps for steps in work_of(*made).values()), "what one host does for all is still to do"


def test_bindings_are_made_again_only_right_before_the_first_step(golden: dict[str, Resolution]) -> None:
    resolution = golden["asked"]
    stage = next(stage for stage in resolution.stages if stage.id == "2.1")
    before, after = stage.hosts
    made = rest_of(resolution, stage, {before: stage.steps[:3], after: stage.steps[:4]})
    assert made is not None
    assert work_of(*made) == {before: ["mark", "mark.say", "mark.outputs", "each"], after: ["mark.outputs", "each"]}
    first, second = plays_of(made[0])
    assert first["vars"]["probe"] == "{{ opsascode_kept[inventory_hostname].probe }}"
    assert second["vars"]["said"] == "{{ opsascode_kept[inventory_hostname].said }}"


def test_an_undo_goes_backwards_where_steps_were_completed(root: Path) -> None:
    steps = "".join(
        f"- {{id: s{number}, task: {{ansible.builtin.command: date}}, register: r{number},"
        f' undo: {{task: {{ansible.builtin.command: "echo {{{{ r{number}.rc }}}} {{{{ r1.rc }}}}"}}}}}}\n'
        for number in (1, 2, 3)
    )
    write(root, "many", f"steps:\n{steps}")
    resolution = resolved(root, "many")
    made = undo_of(resolution, {"web1": ("s1", "s2"), "web2": ("s1", "s2", "s3"), "web3": ()}, header=("x",))
    assert made is not None
    playbook, hosts = made
    assert hosts == ("web1", "web2")
    plays = plays_of(playbook)
    assert [(play["name"], play["hosts"]) for play in plays] == [
        ("many: undo s3", ["web2"]),
        ("many: undo s2", ["web1", "web2"]),
        ("many: undo s1", ["web1", "web2"]),
    ]
    assert [set(play["vars"]) for play in plays] == [{"r1", "r3"}, {"r1", "r2"}, {"r1"}]
    assert undo_of(resolution, {"web3": ()}, header=()) is None


def test_a_secret_is_passed_on_without_a_copy(root: Path) -> None:
    write(
        root,
        "deep",
        "parameters: {word: {type: string, secret: true}}\nsteps:\n- {id: a, task: {ansible.builtin.command: 'echo {{ word }}'}}",
    )
    write(
        root,
        "middle",
        "parameters: {key: {type: string, secret: true}}\nsteps:\n- {id: b, runbook: deep, with: {word: '{{ key }}'}}",
    )
    write(
        root,
        "top",
        "parameters: {token: {type: string, secret: true}}\nsteps:\n- {id: c, runbook: middle, with: {key: '{{ token }}'}}",
    )
    repository = open_repository(root)
    request = Request(runbook=repository.runbook("top"), secrets={"token": "t0p-secret"})
    resolution = resolve(repository, request, environ={"PATH": "/usr/bin:/bin"}, cache=None)
    (play,) = plays_of(resolution.playbook)
    assert [task["vars"]["word"] for task in play["tasks"]] == ["{{ opsascode_secret_token }}"]


def test_what_a_composed_runbook_demands_holds_for_the_run(root: Path) -> None:
    write(
        root,
        "part",
        'parameters: {name: {type: string}}\nlock: ["part-{{ name }}"]\napproval: {required: 2, role: lead}\nsteps:\n- {id: a, notify: {message: "{{ name }}"}}',
    )
    write(
        root,
        "whole",
        'parameters: {names: {type: array, default: [a, b]}}\ntargets: {hosts: web, waves: [1, 100%]}\nsteps:\n- {id: each, runbook: part, loop: "{{ names }}", with: {name: "{{ item }}"}}',
    )
    resolution = resolved(root, "whole")
    assert resolution.locks == ("part-a", "part-b", "web1", "web2", "web3", "web4")
    assert [(stage.id, stage.kind) for stage in resolution.stages] == [
        ("1.1", StageKind.APPROVAL),
        ("1.2", StageKind.ANSIBLE),
        ("1.3", StageKind.APPROVAL),
        ("1.4", StageKind.ANSIBLE),
        ("2.1", StageKind.ANSIBLE),
    ]
    asks = [stage.ask for stage in resolution.stages if stage.ask]
    assert [(ask.stage, ask.step, ask.required, ask.role) for ask in asks] == [
        ("1.1", "each.1", 2, "lead"),
        ("1.3", "each.2", 2, "lead"),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            (
                "steps:\n"
                "- {id: p, check: {command: date}, register: p}\n"
                '- {id: a, runbook: around, with: {inner: "{{ p.stdout_lines }}"}}'
            ),
            "not known before",
        ),
        (
            (
                "parameters: {names: {type: array}}\nsteps:\n"
                '- {id: a, runbook: leaf, loop: "{{ names }}", with: {name: "{{ item }}"}}'
            ),
            "no step for Ansible",
        ),
        (
            (
                "parameters: {many: {type: array}}\nsteps:\n"
                '- {id: a, runbook: leaf, loop: "{{ many }}", with: {name: "{{ item }}"}}'
            ),
            "more than 2000 steps",
        ),
        (
            'parameters: {long: {type: string}}\nlock: ["{{ long }}"]\nsteps:\n- {id: a, notify: {message: a}}',
            "empty, too long",
        ),
        ("steps:\n- {id: a, approval: {}}", "no step for Ansible"),
    ],
)
def test_what_cannot_be_planned_is_refused(root: Path, spec: str, said: str) -> None:
    """Where each document by itself, and each pair of them, is well."""
    inner = 'parameters: {names: {type: array}}\nsteps:\n- {id: a, runbook: leaf, loop: "{{ names }}", with: {name: "{{ item }}"}}'
    write(root, "looping", inner)
    write(
        root,
        "around",
        'parameters: {inner: {type: array}}\nsteps:\n- {id: a, runbook: looping, with: {names: "{{ inner }}"}}',
    )
    write(root, "top", spec)
    given: dict[str, Any] = {"many": list(range(2001)), "names": [], "long": "x" * 201}
    with pytest.raises((DocumentError, ResolveError), match=said):
        resolved(root, "top", values={name: value for name, value in given.items() if f"{{{name}:" in spec})


def test_later_parts_know_what_earlier_parts_registered(root: Path, tmp_path: Path) -> None:
    write(
        root,
        "parts",
        """
parameters: {word: {type: string, default: '{{ never }}'}}
steps:
- {id: probe, check: {command: [echo, "{{ word }}", "{{ inventory_hostname }}"]}, register: probe}
- {id: once, task: {ansible.builtin.command: echo all}, run_once: true, register: shared, outputs: {every: "{{ shared.stdout }}"}}
- {id: skipped, task: {ansible.builtin.command: date}, when: "false", register: absent}
- {id: go, approval: {}}
- {id: say, task: {ansible.builtin.command: {argv: [echo, "{{ probe.stdout }}", "{{ every }}"]}}, when: [shared is changed, absent is skipped]}
- {id: probe2, check: {command: echo anew}, register: probe}
- {id: last, task: {ansible.builtin.command: {argv: [echo, "{{ probe.stdout }}"]}}}
""",
    )
    resolution = resolved(root, "parts", limit="web1:web2")
    first, _, second = resolution.stages
    kept: dict[str, dict[str, Any]] = {}
    seen = staging.run(
        staging.order(tmp_path, first.playbook, hosts=first.hosts),
        on_event=lambda event: keep(kept, event, first.hosts),
    )
    assert seen.result.outcome.value == "succeeded"
    seen = staging.run(staging.order(tmp_path, second.playbook, hosts=second.hosts, kept=kept))
    assert seen.result.outcome.value == "succeeded"
    said = {host: result.output.text for host, result in seen.results("say").items() if result.output}
    assert said == {host: f"{{{{ never }}}} {host} all" for host in second.hosts}
    assert {result.output.text for result in seen.results("last").values() if result.output} == {"anew"}


def keep(kept: dict[str, dict[str, Any]], event: JournalEvent, hosts: tuple[str, ...]) -> None:
    values: Mapping[str, Any] | None = getattr(event, "values", None)
    if values is not None:
        for host in hosts if getattr(event, "once", False) else (getattr(event, "host", ""),):
            kept.setdefault(host, {}).update(values)
