"""`status --drift` against real runs, a real applied pack and a real Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.slo.prometheus import running_prometheus
from tests.trust import apply_pack, install, team_root
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.slo.prometheus import Prometheus

STEPS = """
- id: hello
  task: {ansible.builtin.debug: {msg: hello}}
"""
POLICY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  slo_targets: {availability: 99.9%}
  escalation_chain: [{notify: 'team:sre', after: 5m}]
"""


def drift(world: World) -> Any:
    answer = world.ops("status", "--drift", "--format", "json")
    assert answer.code == 0, answer.err
    return answer.json


def why(world: World) -> dict[str, str]:
    """Runbook to why it has drifted, empty where it has not."""
    return {each["runbook"]: each["why"] for each in drift(world)["runbooks"]["items"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return new_world(tmp_path / "home")


def test_a_runbook_drifts_when_it_changes_after_it_was_run_or_rehearsed(world: World) -> None:
    for name in ("asked", "ran", "rehearsed"):
        world.runbook(name, STEPS)
    world.commit()
    assert set(why(world).values()) == {"never rehearsed, run or reviewed"}
    assert world.ops("run", "ran", "-y", "--limit", "web1").code == 0
    assert world.ops("run", "rehearsed", "-y", "--limit", "web1", "--check").code == 0
    told = drift(world)["runbooks"]
    assert {each["runbook"]: (each["drifted"], each["last"] and each["last"]["kind"]) for each in told["items"]} == {
        "asked": (True, None),
        "ran": (False, "run"),
        "rehearsed": (False, "rehearsal"),
    }
    assert (told["total"], told["drifted"], told["target"], told["within_target"]) == (3, 1, 0.1, False)
    assert told["share"] == pytest.approx(1 / 3)
    for name in ("ran", "rehearsed"):
        world.runbook(name, STEPS.replace("msg: hello", "msg: changed"))
    assert why(world) == {
        "asked": "never rehearsed, run or reviewed",
        "ran": "playbooks/ran.yml changed since its last run",
        "rehearsed": "playbooks/rehearsed.yml changed since its last rehearsal",
    }
    shown = world.ops("status", "--drift").out
    assert shown.startswith("Drift: 3 of 3 runbooks (100.0%), MORE than the 10% that is the target\n")
    assert "playbooks/rehearsed.yml changed since its last rehearsal" in shown


def test_a_role_that_changes_is_drift_of_what_was_run_with_it(world: World) -> None:
    world.write("roles/web/tasks/main.yml", "- name: Hello\n  ansible.builtin.debug: {msg: hello}\n")
    world.runbook("ran", "- {id: web, role: web}")
    world.commit()
    assert world.ops("run", "ran", "-y", "--limit", "web1").code == 0
    world.write("inventories/more.yml", "all: {hosts: {db2: {}}}\n")
    assert why(world) == {"ran": ""}
    world.write("roles/web/tasks/main.yml", "- name: Bye\n  ansible.builtin.debug: {msg: bye}\n")
    (item,) = drift(world)["runbooks"]["items"]
    assert (item["differs"], item["not_compared"]) == (["roles/web/tasks/main.yml"], "")
    assert item["why"] == "roles/web/tasks/main.yml changed since its last run"
    assert item["why"] in world.ops("status", "--drift").out


def test_a_run_that_failed_or_was_refused_is_no_evidence(world: World) -> None:
    world.runbook("failing", "- id: fails\n  task: {ansible.builtin.command: 'false'}")
    world.commit()
    assert world.ops("run", "failing", "-y", "--limit", "web1").code == 1
    assert why(world) == {"failing": "never rehearsed, run or reviewed"}


def test_a_runbook_that_cannot_be_read_is_drift_and_no_failure(world: World) -> None:
    world.runbook("broken", "- id: x\n  nothing: 1")
    assert why(world) == {"broken": "it cannot be used: see opsascode check"}


def test_without_anything_there_is_nothing_to_tell(world: World) -> None:
    answer = world.ops("status", "--drift")
    assert answer.code == 0, answer.err
    assert "there are no runbooks" in answer.out
    assert "no trust root is pinned here" in answer.out
    assert "names no Prometheus" in answer.out


def test_an_applied_pack_reviews_what_it_holds_and_head_is_held_against_it(world: World) -> None:
    world.runbook("reviewed", STEPS)
    world.write("policies/steps.yml", """
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {name: steps}
        spec: {require: {max_hosts: 9}, reason: small}
        """)  # fmt: skip
    install(world, team_root(protected=("policies/**", "playbooks/**", "inventories/**", "opsascode.yml")))
    apply_pack(world)
    told = drift(world)
    assert [each["last"]["kind"] for each in told["runbooks"]["items"]] == ["review"]
    assert told["runbooks"]["drifted"] == 0
    assert told["policies"]["files"] == []
    assert told["runbooks"]["partly_compared"] == 0, "nothing lies beside it but what is in the pack"
    assert "HEAD holds what is applied" in world.ops("status", "--drift").out
    world.write("roles/web/tasks/main.yml", "- name: Hello\n  ansible.builtin.debug: {msg: hello}\n")
    assert (drift(world)["runbooks"]["drifted"], drift(world)["runbooks"]["partly_compared"]) == (0, 1)
    assert "compared in part only" in world.ops("status", "--drift").out
    world.runbook("reviewed", STEPS.replace("hello", "bye"))
    world.commit("another")
    told = drift(world)
    assert told["policies"]["files"] == ["playbooks/reviewed.yml"]
    assert why(world) == {"reviewed": "playbooks/reviewed.yml changed since its last review"}
    assert "1 file of HEAD not as applied" in world.ops("status", "--drift").out


# Rules.


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("drift")) as started:
        yield started


def with_prometheus(world: World, url: str) -> None:
    settings = (world.root / "opsascode.yml").read_text()
    world.write("opsascode.yml", settings.replace("spec: {", f"spec: {{prometheus: {{url: '{url}'}}, "))


def test_the_rules_that_prometheus_has_loaded_are_held_against_the_policies(
    world: World, prometheus: Prometheus, tmp_path: Path
) -> None:
    with_prometheus(world, prometheus.url)
    world.write("policies/shop.yml", POLICY.lstrip("\n"))
    world.commit()
    told = drift(world)["rules"]
    assert told["checked"] is True
    assert {each["what"] for each in told["differences"]} == {"missing"}
    made = world.ops("slo", "rules", "--out", str(tmp_path / "rules"))
    assert made.code == 0, made.err
    files = [
        each
        for each in (tmp_path / "rules").rglob("*.yml")
        if "groups:" in each.read_text() and "tests:" not in each.read_text()
    ]
    prometheus.reload(rules=files)
    told = drift(world)["rules"]
    assert told["differences"] == [], "what is generated and loaded is what the policies give"
    assert told["loaded"] == told["expected"] > 0
    assert "as the policies give them" in world.ops("status", "--drift").out
    world.write("policies/shop.yml", POLICY.lstrip("\n").replace("99.9%", "99.5%"))
    told = drift(world)["rules"]
    assert (
        {each["what"] for each in told["differences"]}
        == {"different", "missing", "extra"} & {each["what"] for each in told["differences"]}
        != set()
    )
    assert "slo rules --out DIR" in world.ops("status", "--drift").out


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:9/prometheus"])
def test_a_prometheus_that_is_down_is_said_and_nothing_fails(world: World, url: str) -> None:
    with_prometheus(world, url)
    world.runbook("hello", STEPS)
    world.write("policies/shop.yml", POLICY.lstrip("\n"))
    world.commit()
    told = drift(world)
    assert told["rules"]["checked"] is False
    assert told["rules"]["why"]
    assert told["runbooks"]["total"] == 1
    answer = world.ops("status", "--drift")
    assert answer.code == 0
    assert "not compared" in answer.out
    json.dumps(told)
