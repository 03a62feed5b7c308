"""Guardrails through the installed command: who, what, where, when and how, explained, recorded, and asked of people.

Calendars are written around the real time, as nobody can tell the command another one. What changes between two commands
without a commit is who starts them: `CI=true` is what a CI job says about itself.
"""

from __future__ import annotations

import base64
import getpass
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import UsageError
from opsascode.policy import Permit, Subject, judge
from opsascode.proof import LedgerReader, PublicKey
from opsascode.repo import open_repository
from opsascode.run import RUN_REFUSED
from tests.acceptance.runs import newest
from tests.slo.prometheus import Exporter, running_prometheus
from tests.trust import HANDS, PERSONS, install, person, role, team_root, with_roles, without_role, write_key
from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)
SAY = "- {id: say, task: {ansible.builtin.debug: {msg: hello}}}"
NO_SHELL = "  - {name: no-shell, what: {modules: [ansible.builtin.shell, shell, raw, command]}, then: deny, reason: no raw shell}"


def guardrail(rules: str, name: str = "house", **spec: str) -> str:
    """Write a guardrail with these rules (YAML list items) and further lines of `spec`."""
    more = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    head = (
        f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: {name}}}\nspec:\n  reason: house rules\n{more}"
    )
    return f"{head}  rules:\n{rules}\n"


def calendar(name: str, *windows: tuple[str, timedelta, timedelta]) -> str:
    """Write a calendar whose windows begin and end so long from now."""
    head = f"apiVersion: opsascode/v1\nkind: Calendar\nmetadata: {{name: {name}}}\nspec:\n  timezone: UTC\n  windows:\n"
    lines = [
        f"  - {{name: {window}, start: {NOW + start:%Y-%m-%dT%H:%M}, end: {NOW + end:%Y-%m-%dT%H:%M}, reason: quiet}}"
        for window, start, end in windows
    ]
    return head + "\n".join(lines) + "\n"


def frozen() -> str:
    return calendar("freeze", ("now", -timedelta(hours=1), timedelta(hours=3, minutes=20)))


def refusals(world: World) -> list[dict[str, Any]]:
    """What the ledger says about refused runs, as it was signed."""
    if not world.ledger.exists():
        return []
    reader = LedgerReader.read(world.ledger, keys=(PublicKey.from_openssh(world.public_key.read_text()),))
    found = [json.loads(base64.b64decode(json.loads(each)["payload"])) for each in reader.entries()]
    return [each["predicate"] for each in found if each["predicateType"] == RUN_REFUSED]


def reasons(answer: Answer) -> list[dict[str, Any]]:
    found = answer.json.get("verdict", answer.json)["reasons"]
    assert isinstance(found, list)
    return found


# What: modules wherever they stand.


@pytest.fixture(scope="module")
def denying(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = new_world(tmp_path_factory.mktemp("denying") / "home")
    world.write("policies/house.yml", guardrail(NO_SHELL))
    world.write("playbooks/ansible/roles/plain/tasks/main.yml", "- ansible.builtin.debug: {msg: x}\n")
    world.write("playbooks/ansible/roles/deep/tasks/main.yml", "- include_tasks: more.yml\n- import_tasks: other.yml\n")
    world.write("playbooks/ansible/roles/deep/tasks/more.yml", "- ansible.builtin.ping:\n")
    world.write("playbooks/ansible/roles/deep/tasks/other.yml", "- block: [{name: x, rescue: [], shell: echo}]\n")
    world.write("playbooks/ansible/roles/needs/meta/main.yml", "dependencies: [{role: deep}]\n")
    world.write(
        "playbooks/ansible/roles/needs/tasks/main.yml", "- {ansible.builtin.debug: {msg: '{{ x }}'}, mode: 0644}\n"
    )
    world.write("playbooks/ansible/roles/old/handlers/main.yml", "- {name: h, action: 'raw echo'}\n")
    world.write("playbooks/ansible/roles/old/tasks/main.yml", "- local_action: {module: ping}\n")
    world.write("playbooks/ansible/roles/dark/tasks/main.yml", "- include_tasks: '{{ ansible_os_family }}.yml'\n")
    world.write("playbooks/ansible/roles/merged/tasks/main.yml", "- &a {ansible.builtin.debug: {msg: x}}\n- *a\n")
    world.write("playbooks/ansible/fine.yml", "- hosts: all\n  tasks: [{ansible.builtin.debug: {msg: x}}]\n")
    world.write(
        "playbooks/ansible/book.yml",
        "- hosts: all\n  roles: [plain]\n  pre_tasks: [{block: [{ansible.builtin.command: ls}]}]\n",
    )
    world.write("playbooks/ansible/outer.yml", "- import_playbook: book.yml\n")
    world.commit()
    return world


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("task: {ansible.builtin.shell: echo}", "without ansible.builtin.shell"),
        ("task: {ansible.builtin.debug: {msg: x}}, undo: {task: {ansible.builtin.raw: echo}}", "without ansible.builtin.raw"),
        ("check: {command: ls}", "without ansible.builtin.command"),
        ("task: {ansible.builtin.debug: {msg: x}}, undo: {role: needs}", "without shell"),
        ("role: deep", "without shell"),
        ("role: needs", "without shell"),
        ("role: old", "without raw"),
        ("role: dark", "with content that can be looked into"),
        ("role: merged", "with content that can be looked into"),
        ("playbook: playbooks/ansible/book.yml", "without ansible.builtin.command"),
        ("playbook: playbooks/ansible/outer.yml", "without ansible.builtin.command"),
        ("task: {ansible.builtin.include_role: {name: deep}}", "without shell"),
        ("task: {ansible.builtin.include_role: {name: '{{ inventory_hostname }}'}}", "with content that can be looked into"),
        ("role: plain", None),
        ("playbook: playbooks/ansible/fine.yml", None),
        ("task: {ansible.builtin.copy: {content: x, dest: /tmp/x}}", None),
    ],
)  # fmt: skip
def test_a_forbidden_module_is_found_wherever_it_stands(denying: World, step: str, found: str | None) -> None:
    name = f"case{abs(hash(step))}"
    denying.runbook(name, f"- {{id: one, {step}}}")
    answer = denying.ops("plan", name, "--format", "json")
    assert answer.code == (4 if found else 0), answer.out + answer.err
    if found:
        (reason,) = reasons(answer)
        assert reason["rule"] == "no-shell"
        assert reason["source"] == "guardrail house"
        assert reason["position"].startswith("policies/house.yml:7")
        assert reason["mend"] == found


# When: freezes, and the way back out of them.


def test_a_freeze_refuses_says_when_it_ends_and_is_recorded(world: World) -> None:
    world.runbook("hello", SAY)
    world.write("policies/calendars.yml", frozen())
    world.write(
        "policies/house.yml",
        guardrail(
            "  - {name: frozen, when: {during: [freeze]}, if: '!plan.predicts', then: deny, reason: it is quiet}"
        ),
    )
    world.commit()

    planned = world.ops("plan", "hello")
    assert planned.code == 4
    assert "guardrail house, rule frozen: it is quiet (policies/house.yml:7:5)" in planned.out
    until = f"{NOW + timedelta(hours=3, minutes=20):%Y-%m-%d %H:%M} UTC"
    assert f"when the window freeze/now closes at {until}" in planned.out
    assert "in 3 h" in planned.out
    assert ", or as a prediction with --check" in planned.out
    assert not world.state.exists(), "a plan leaves no trace"

    predicted = world.ops("run", "hello", "--check", "-y")
    assert predicted.code == 0, predicted.err
    assert refusals(world) == []
    assert newest(world)["start"]["judged"]["predicts"] is True

    refused = world.ops("run", "hello", "-y")
    assert refused.code == 4
    assert "recorded as ledger entry 2" in refused.err
    (record,) = refusals(world)
    assert record["runbook"]["name"] == "hello"
    assert record["reasons"][0]["rule"] == "frozen"
    assert record["actor"]["user"]
    assert record["trigger"] == "manual"
    assert record["pack"] is None
    assert "partial" not in record
    again = judge(open_repository(world.root).policies(), Subject.of_json(record["judged"]), now=datetime.now(UTC))
    assert not isinstance(again, Permit)
    assert world.ops("verify", "--all").code == 0

    as_json = world.ops("run", "hello", "-y", "--format", "json")
    assert as_json.code == 4
    assert as_json.lines[-1]["event"] == "refused"
    assert as_json.lines[-1]["recorded"] == 3


def test_a_window_that_is_not_open_lets_pass_and_is_explained(world: World) -> None:
    world.runbook("hello", SAY)
    day = timedelta(days=1)
    world.write("policies/calendars.yml", calendar("freeze", ("past", -2 * day, -day), ("next", 2 * day, 3 * day)))
    rules = "  - {name: frozen, when: {during: [freeze]}, then: deny, reason: it is quiet}"
    world.write(
        "policies/house.yml", guardrail(rules) + "---\n" + guardrail(NO_SHELL, "other", applies_to="{groups: [db]}")
    )
    world.commit()
    answer = world.ops("plan", "hello", "--explain")
    assert answer.code == 0
    assert "house (policies/house.yml:1:1): allows: no rule of it matches" in answer.out
    assert "rule frozen (policies/house.yml:7:5): does not match" in answer.out
    assert "no   when.during: no window of freeze is open" in answer.out
    assert "when the window freeze/next opens at" in answer.out
    assert "other (policies/house.yml:9:1): does not apply" in answer.out
    assert "groups db; this is on none of them" in answer.out
    found = world.ops("plan", "hello", "--explain", "--format", "json").json["explanation"]
    assert [(each["name"], each["applies"], each["answer"]) for each in found["guardrails"]] == [
        ("house", True, "allows: no rule of it matches"),
        ("other", False, "does not apply"),
    ]
    assert found["guardrails"][0]["rules"][0]["parts"][0]["match"] == "no"
    assert found["subject"]["modules"] == ["ansible.builtin.debug"]
    assert found["subject"]["environments"] == ["local"]


def test_an_undo_is_not_locked_out_by_a_freeze_but_going_on_is(world: World, tmp_path: Path) -> None:
    step = f"- {{id: one, task: {{ansible.builtin.copy: {{content: x, dest: {tmp_path}/made}}}}, undo: {{task: {{ansible.builtin.file: {{path: {tmp_path}/made, state: absent}}}}}}}}"
    fails = "- {id: two, task: {ansible.builtin.fail: {msg: no}}}"
    world.runbook("change", f"{step}\n{fails}", targets="{hosts: web1}")
    world.write("policies/calendars.yml", frozen())
    # Whoever starts it by hand is let through; from CI the freeze holds.
    rules = [
        "  - {name: frozen, who: {triggers: [ci]}, when: {during: [freeze]}, then: deny, reason: it is quiet}",
        "  - {name: late, who: {triggers: [ci]}, if: \"now > timestamp('2020-01-01T00:00:00Z')\", then: deny, reason: too late}",
        "  - {name: wide, who: {triggers: [ci]}, where: {groups: [db]}, then: deny, reason: not databases}",
    ]  # fmt: skip
    world.write("policies/house.yml", guardrail("\n".join(rules)))
    world.commit()
    assert world.ops("run", "change", "-y").code == 1
    assert (tmp_path / "made").exists()

    resumed = world.ops("runs", "resume", "latest", "-y", "--format", "json", CI="true")
    assert resumed.code == 4
    assert [each["rule"] for each in resumed.lines[-1]["reasons"]] == ["frozen", "late"]
    undone = world.ops("runs", "undo", "latest", "-y", CI="true")
    assert undone.code == 0, undone.out + undone.err
    assert not (tmp_path / "made").exists()
    assert newest(world)["start"]["judged"]["undoes"] is True


def test_what_forbids_a_run_forbids_its_undo_where_it_is_not_about_time(world: World) -> None:
    world.runbook(
        "change",
        "- {id: one, task: {ansible.builtin.debug: {msg: x}}, undo: {task: {ansible.builtin.debug: {msg: y}}}}",
    )
    world.write(
        "policies/house.yml", guardrail("  - {name: robots, who: {triggers: [ci]}, then: deny, reason: people only}")
    )
    world.commit()
    assert world.ops("run", "change", "-y").code == 0
    undone = world.ops("runs", "undo", "latest", "-y", CI="true")
    assert undone.code == 4
    assert "rule robots: people only" in undone.err
    assert "started by manual or alert" in undone.err
    assert refusals(world)[0]["mode"] == "undo"


def test_an_error_budget_is_asked_of_prometheus_and_no_data_where_there_is_none(world: World, tmp_path: Path) -> None:
    world.runbook("hello", SAY)
    policy = """
        apiVersion: opsascode/v1
        kind: ReliabilityPolicy
        metadata: {name: checkout}
        spec:
          slo_targets: {availability: 99%}
          error_budget_thresholds: {warn: 50%, critical: 80%}
          escalation_chain: [{notify: team:sre}]
        """
    spent = "  - {name: spent, when: {budget: {service: checkout, levels: [exhausted]}}, then: deny, reason: the budget is spent}"
    blind = (
        "  - {name: blind, when: {budget: {service: checkout, levels: [no_data]}}, then: deny, reason: nobody knows}"
    )
    world.write("policies/slo.yml", policy)
    world.write("policies/house.yml", guardrail(f"{spent}\n{blind}"))
    settings = world.root / "opsascode.yml"
    plain = settings.read_text()

    def prometheus_at(url: str) -> None:
        settings.write_text(plain.replace("spec: {", f"spec: {{prometheus: {{url: '{url}', timeout: 5s}}, "))
        world.commit()

    prometheus_at("http://127.0.0.1:9")
    unknown = world.ops("plan", "hello", "--format", "json")
    assert [each["rule"] for each in reasons(unknown)] == ["blind"], unknown.out + unknown.err
    with Exporter() as exporter, running_prometheus(tmp_path, targets=[exporter.address]) as prometheus:
        good = exporter.counter("http_requests", service="checkout", code="200")
        bad = exporter.counter("http_requests", service="checkout", code="500")
        good.inc(10), bad.inc(0)
        prometheus.wait_for("http_requests_total", lambda values: len(values) == 2)
        good.inc(100), bad.inc(50)
        prometheus.wait_for(  # what is asked about is the last full second
            'increase(http_requests_total{code="500"}[1h] offset 2s)', lambda values: bool(values) and values[0] > 1
        )
        prometheus_at(prometheus.url)
        answer = world.ops("plan", "hello", "--explain", "--format", "json")
    assert [each["rule"] for each in reasons(answer)] == ["spent"], answer.out
    assert reasons(answer)[0]["mend"] == "once the error budget of checkout is at ok, warn, critical or no_data"
    budget = answer.json["explanation"]["subject"]["budgets"]["checkout"]
    assert budget["level"] == "exhausted"
    assert float(budget["consumed"]) > 1


# How: approvals that guardrails ask.


class Crew:
    """A world whose applied pack asks for approvals, and people with keys in files."""

    def __init__(self, world: World, rules: str, **spec: str) -> None:
        self.world, self.keys = world, world.home / "keys"
        for name in ("alice", "bob", "carol"):
            write_key(HANDS[name], self.keys / name)
        alice = person("alice", accounts=(getpass.getuser(),))
        root = team_root(
            persons=(alice, *PERSONS[1:]),
            roles=with_roles(role("sre", 1, "alice", "bob", "carol"), of=without_role("policy-approver")),
        )
        world.runbook("deploy", SAY, targets="{hosts: web1}", **spec)
        world.write("policies/house.yml", guardrail(rules))
        install(world, root, apply=True)

    def approve(self, run: str, *names: str, **environment: str) -> None:
        for name in names:
            words = ("approve", run, "--as", name, "--key", self.keys / name, "-y")
            answer = self.world.ops(*words, **environment)
            assert answer.code == 0, answer.out + answer.err

    def runs(self) -> list[str]:
        return sorted(each.name for each in (self.world.state / "runs").iterdir())


TWO_FROM_CI = "  - {name: two, who: {triggers: [ci]}, then: require, require: {approvals: {required: 2, role: sre}}, reason: two look}"
ONE_ALWAYS = "  - {name: one, then: require, require: {approvals: {required: 1, role: sre}}, reason: one looks}"
EXPERTS = "  - {name: experts, who: {roles: [dba]}, then: deny, reason: not by database people}"


def test_a_guardrail_asks_people_and_the_question_stays_whatever_it_asks_later(world: World) -> None:
    crew = Crew(world, f"{TWO_FROM_CI}\n{ONE_ALWAYS}\n{EXPERTS}")
    by_hand, from_ci = world.ops("plan", "deploy"), world.ops("plan", "deploy", CI="true")
    assert "asks before anything is done: 1 approval(s) with the role sre: Run Test deploy" in by_hand.out
    assert "asks before anything is done: 2 approval(s) with the role sre" in from_ci.out
    assert by_hand.code == from_ci.code == 0

    waiting = world.ops("run", "deploy", "-y", CI="true")
    assert waiting.code == 4
    assert "0 of 2 approvals; 2 more people with the role sre must approve" in waiting.out + waiting.err
    (run,) = crew.runs()
    crew.approve(run, "bob")
    # By hand one would be enough; the question that was recorded asks two.
    again = world.ops("runs", "resume", run, "-y")
    assert again.code == 4
    assert "1 of 2 approvals" in again.out + again.err
    crew.approve(run, "carol")
    done = world.ops("runs", "resume", run, "-y")
    assert done.code == 0, done.out + done.err
    judged = newest(world)["start"]["judged"]
    assert judged["approvals"] == [{"required": 2, "role": "sre"}]
    assert judged["roles"] == ["rollback-approver", "root", "run-approver", "sre"]
    assert judged["trigger"] == "ci"
    assert world.ops("verify", run).code == 0


def test_a_run_that_waits_is_refused_with_reasons_where_more_is_asked_now(world: World, tmp_path: Path) -> None:
    crew = Crew(world, f"{TWO_FROM_CI}\n{ONE_ALWAYS}")
    assert world.ops("run", "deploy", "-y").code == 4
    (run,) = crew.runs()
    crew.approve(run, "bob")
    stricter = world.ops("runs", "resume", run, "-y", CI="true")
    assert stricter.code == 4
    assert (
        "guardrail house, rule two: 2 approvals of role sre must be asked for, and this plan does not ask"
        in stricter.err
    )
    assert "with 2 approvals of role sre: plan it again" in stricter.err
    canceled = world.ops("runs", "cancel", run, CI="true")
    assert canceled.code == 0, canceled.out + canceled.err

    plan = tmp_path / "plan.json"
    assert world.ops("plan", "deploy", "--out", plan).code == 0
    content = json.loads(plan.read_text())
    assert content.pop("guardrail_approvals")[0]["by"] == "guardrail house, rule one"
    del content["trust"]
    content["stages"] = [each for each in content["stages"] if each["wave"]]
    plan.write_text(json.dumps(content))
    bent = world.ops("run", plan, "-y")
    assert bent.code == 4
    assert "rule one: 1 approval of role sre must be asked for" in bent.err


def test_what_a_guardrail_asks_is_added_to_what_the_runbook_asks(world: World) -> None:
    crew = Crew(world, ONE_ALWAYS, approval="{required: 1, role: run-approver, expires: 4h}")
    shown = world.ops("plan", "deploy", "--format", "json").json["plan"]
    asks = [each["ask"] for each in shown["stages"] if each["wave"] == 0]
    assert [(each["stage"], each["required"], each["role"]) for each in asks] == [
        ("0.1", 1, "run-approver"),
        ("0.2", 1, "sre"),
    ]
    assert asks[0]["instructions"] == ""
    assert asks[1]["instructions"] == "guardrail house, rule one: one looks"
    assert world.ops("run", "deploy", "-y").code == 4
    (run,) = crew.runs()
    crew.approve(run, "bob")
    assert world.ops("runs", "resume", run, "-y").code == 4
    crew.approve(run, "bob")
    done = world.ops("runs", "resume", run, "-y")
    assert done.code == 0, done.out + done.err


def test_without_a_trust_root_nobody_can_be_asked(world: World) -> None:
    world.runbook("hello", SAY)
    world.write("policies/house.yml", guardrail(ONE_ALWAYS))
    world.commit()
    answer = world.ops("plan", "hello")
    assert answer.code != 0
    assert "trust root" in answer.err


def test_a_plan_without_such_approvals_keeps_its_digest(world: World) -> None:
    world.runbook("hello", SAY)
    world.write("policies/house.yml", guardrail(NO_SHELL))
    world.commit()
    shown = world.ops("plan", "hello", "--format", "json").json
    assert "guardrail_approvals" not in shown["plan"]
    assert "trust" not in shown["plan"]


def test_a_refusal_of_a_plan_with_very_many_facts_stays_small(world: World) -> None:
    groups = ", ".join(f"group-with-a-long-name-{number}: {{hosts: {{web1: {{}}}}}}" for number in range(900))
    inventory = world.root / "inventories" / "local.yml"
    inventory.write_text(f"{inventory.read_text().rstrip()}\n    many: {{children: {{{groups}}}}}\n")
    world.runbook("hello", SAY, targets="{hosts: web1}")
    rules = "\n".join(f"  - {{name: never{number}, then: deny, reason: {'never ' * 60}}}" for number in range(90))
    world.write("policies/house.yml", guardrail(rules))
    world.commit()
    assert world.ops("run", "hello", "-y").code == 4
    (record,) = refusals(world)
    assert len(json.dumps(record, separators=(",", ":"))) <= 32 * 1024
    assert record["partial"] is True
    assert record["judged"]["partial"] is True
    assert 0 < len(record["reasons"]) < 90
    assert Subject.of_json(record["judged"]).partial
    with pytest.raises(UsageError):
        Subject.of_json({})
    assert world.ops("verify", "--all").code == 0
