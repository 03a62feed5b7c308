"""Typed documents: what was written arrives, with exact quantities and positions."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from decimal import Decimal

import pytest

from opsascode.repo import (
    CommandCheck,
    Comparison,
    ConditionCheck,
    HttpCheck,
    NotifyStep,
    OnFailure,
    ParameterType,
    PlaybookStep,
    PrometheusCheck,
    RoleStep,
    RunbookStep,
    StepKind,
    TaskStep,
    TcpCheck,
    Vantage,
    Wave,
    open_repository,
)
from opsascode.repo._quantities import parse_duration, parse_percent
from tests.repo.conftest import World, runbook

FULL = """\
apiVersion: opsascode/v1
kind: Runbook
metadata: {name: full, title: All of it, owners: [team:sre], labels: {category: x}, version: 1.2.0}
spec:
  severity: [0, 1]
  prerequisites: [look]
  estimated_duration: 90s
  parameters:
    service: {type: string, pattern: '^[a-z]+$'}
    rps: {type: number, default: 0.5}
    password: {type: string, secret: true}
  targets: {hosts: "web:!old", max_hosts: 10, max_percent: 12.5%, waves: [1, 33.3%, 100%], variables: [http_port]}
  on_failure: undo
  steps:
    - id: one
      title: First
      task: {ansible.builtin.command: "echo {{ service }}", changed_when: false}
      timeout: 1500ms
      retry: {attempts: 3, delay: 0s}
      when: service != ''
      register: out
      outputs: {word: "{{ out.stdout }}"}
      become: true
      become_user: root
      delegate_to: localhost
      run_once: true
      environment: {LANG: C}
      undo: {role: {name: a.b.c, tasks_from: undo, vars: {x: 1}}, timeout: 1m, when: [service == 'x']}
    - id: two
      check: {http: "https://web/{{ http_port }}", expect: {status: 204, contains: ok}, method: HEAD,
              headers: {A: b}, validate_certs: false, from: controller}
    - {id: three, check: {tcp: "[::1]:80"}}
    - {id: four, check: {command: [id, -u], expect: {rc: [0, 1], matches: '^0'}}, retry: {attempts: 2}}
    - {id: five, check: {prometheus: up, expect: "<={{ rps }}"}}
    - {id: six, check: {that: [word is defined, "1 < 2"], message: no}}
    - {id: seven, role: a.b.c}
    - {id: eight, playbook: playbooks/ansible/site.yml}
    - {id: nine, runbook: other}
    - {id: ten, notify: {message: "done {{ password | length }}"}}
"""


FILES = {"playbooks/full.yml": FULL, "playbooks/other.yml": runbook("other"), "playbooks/ansible/site.yml": "[]"}


def test_a_runbook_arrives_whole(world: World) -> None:
    book = open_repository(world(FILES)).runbook("full")
    assert (book.name, book.metadata.title, book.metadata.owners, book.metadata.version) == (
        "full",
        "All of it",
        ("team:sre",),
        "1.2.0",
    )
    assert (book.severity, book.prerequisites, book.on_failure) == ((0, 1), ("look",), OnFailure.UNDO)
    assert book.estimated_duration == timedelta(seconds=90)
    assert book.source.path == "playbooks/full.yml"
    assert book.source.digest == "sha256:" + hashlib.sha256(FULL.encode()).hexdigest()
    assert [(each.name, each.type, each.required, each.secret) for each in book.parameters] == [
        ("service", ParameterType.STRING, True, False),
        ("rps", ParameterType.NUMBER, False, False),
        ("password", ParameterType.STRING, True, True),
    ]
    assert book.targets.max_percent == Decimal("12.5")
    assert book.targets.waves == (Wave(count=1), Wave(percent=Decimal("33.3")), Wave(percent=Decimal(100)))
    assert [str(wave) for wave in book.targets.waves] == ["1", "33.3%", "100%"]
    assert [step.kind for step in book.steps] == [
        StepKind.TASK, *[StepKind.CHECK] * 5, StepKind.ROLE, StepKind.PLAYBOOK, StepKind.RUNBOOK, StepKind.NOTIFY,
    ]  # fmt: skip
    assert book.parameter("rps") is book.parameters[1]
    assert book.parameter("none") is None


def test_a_step_arrives_whole(world: World) -> None:
    step = open_repository(world(FILES)).runbook("full").steps[0]
    assert isinstance(step.action, TaskStep)
    assert step.action.module == "ansible.builtin.command"
    assert step.action.body == {"ansible.builtin.command": "echo {{ service }}", "changed_when": False}
    assert step.timeout == timedelta(milliseconds=1500)
    assert step.retry is not None
    assert (step.retry.attempts, step.retry.delay) == (3, timedelta(0))
    assert (step.when, step.register, step.outputs) == (("service != ''",), "out", {"word": "{{ out.stdout }}"})
    assert (step.become.enabled, step.become.user, step.become.method) == (True, "root", None)
    assert (step.delegate_to, step.run_once, step.environment) == ("localhost", True, {"LANG": "C"})
    assert step.undo is not None
    assert step.undo.action == RoleStep(name="a.b.c", tasks_from="undo", variables={"x": 1})
    assert (step.undo.title, step.undo.timeout, step.undo.when) == (
        "Undo: First",
        timedelta(minutes=1),
        ("service == 'x'",),
    )
    assert (step.position.line, step.undo.position.line) == (15, 28)


def test_actions_arrive_whole(world: World) -> None:
    actions = [step.action for step in open_repository(world(FILES)).runbook("full").steps[1:]]
    assert actions == [
        HttpCheck(
            url="https://web/{{ http_port }}", method="HEAD", headers={"A": "b"}, status=(204,), contains="ok",
            validate_certs=False, vantage=Vantage.CONTROLLER,
        ),
        TcpCheck(host="::1", port="80"),
        CommandCheck(command=("id", "-u"), rc=(0, 1), matches="^0"),
        PrometheusCheck(query="up", comparison=Comparison.AT_MOST, threshold="{{ rps }}"),
        ConditionCheck(conditions=("word is defined", "1 < 2"), message="no"),
        RoleStep(name="a.b.c", variables={}),
        PlaybookStep(path="playbooks/ansible/site.yml"),
        RunbookStep(name="other", parameters={}),
        NotifyStep(message="done {{ password | length }}"),
    ]  # fmt: skip


def test_guardrails_and_settings_arrive_whole(world: World) -> None:
    root = world(
        {
            "policies/a.yml": "apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {name: a}\nspec:\n"
            "  applies_to: {runbooks: ['x-*'], labels: {a: b}, groups: [g]}\n"
            "  require: {clean_tree: true, max_hosts: 3, max_percent: 20%, triggers: [ci]}\n  reason: because\n",
            "opsascode.yml": "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: r}\nspec:\n"
            "  inventory: inv\n"
            "  state: ~/s\n  keys: {machine: 'env:KEY'}\n  environment: {allow: [AWS_*]}\n  prometheus: {url: 'http://p'}\n",
            "inv": "localhost\n",
        }
    )
    repository = open_repository(root)
    (guardrail,) = repository.policies().guardrails
    assert guardrail.require.max_percent == Decimal(20)
    assert (guardrail.require.clean_tree, guardrail.require.max_hosts, guardrail.require.triggers) == (True, 3, ("ci",))
    assert (guardrail.applies_to.runbooks, guardrail.applies_to.labels, guardrail.applies_to.groups) == (
        ("x-*",),
        {"a": "b"},
        ("g",),
    )
    assert (guardrail.reason, guardrail.position.path) == ("because", "policies/a.yml")
    settings = repository.settings
    assert (settings.name, settings.inventory, settings.state, settings.machine_key) == (
        "r",
        ("inv",),
        "~/s",
        "env:KEY",
    )
    assert (settings.environment_allow, settings.prometheus_url, settings.alertmanager_url) == (
        ("AWS_*",),
        "http://p",
        None,
    )


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1.5s", "1w", "1s ", "1s\n", "9999999999s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_percentages_are_exact() -> None:
    assert parse_percent("0.1%") * 3 == Decimal("0.3")
    assert parse_percent(0.1) * 3 == Decimal("0.3")
    with pytest.raises(ValueError, match="percentage"):
        parse_percent("x%")
