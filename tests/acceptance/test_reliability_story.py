"""The whole loop, on real servers: a policy becomes rules, errors become an alert, the gate blocks, two people override it.

Everything is real: the installed command, Git, SSH keys, Prometheus that scrapes an exporter and evaluates the rules that
were generated. Only the windows are short: an hour instead of thirty days, seconds instead of hours.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.cli._execute import account
from tests.people import BOB, CAROL
from tests.slo.prometheus import Exporter, Prometheus, running_prometheus
from tests.trust import PERSONS, install, person, role, team_root, with_roles, write_key
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop, title: The shop answers, version: 1.0.0, owners: [team:sre]}
spec:
  service: shop
  window: 1h
  slo_targets: {availability: 95%}
  indicators: {availability: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total}}
  error_budget_thresholds: {warn: 50%, critical: 80%}
  alerting: [{level: page, long: 20s, short: 4s, budget: 2%}]
  escalation_chain: [{notify: team:sre}, {trigger: copilot.auto_remediate}]
  gate: {override: {required: 2, role: incident-commander, lifetime: 1h}}
"""


@dataclass(kw_only=True)
class Shop:
    """A service under steady traffic, some of which fails while `failing` is set."""

    exporter: Exporter
    failing: Event
    over: Event

    def serve(self) -> None:
        good, bad = (self.exporter.counter("http_requests_total", code=code) for code in ("200", "500"))
        while not self.over.wait(0.05):
            good.inc(10)
            if self.failing.is_set():
                bad.inc(10)


@dataclass(frozen=True, kw_only=True)
class Scene:
    world: World
    shop: Shop
    prometheus: Prometheus

    def gate(self, *words: str) -> Any:
        answer = self.world.ops("slo", "gate", "--service", "shop", "--format", "json", *words)
        assert answer.code in {0, 4}, answer
        assert answer.code == (4 if answer.json["verdict"] == "block" else 0)
        return answer.json

    def approve(self, name: str, what: str) -> None:
        key = self.world.home / "keys" / name
        answer = self.world.ops("approve", what, "--as", name, "--key", key, "--reason", "the fix must go out", "-y")
        assert answer.code == 0, answer


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("loop")
    world = new_world(place)
    with Exporter() as exporter, running_prometheus(place, targets=[exporter.address]) as prometheus:
        shop = Shop(exporter=exporter, failing=Event(), over=Event())
        traffic = Thread(target=shop.serve)
        traffic.start()
        try:
            settings = (world.root / "opsascode.yml").read_text(encoding="utf-8").rstrip().removesuffix("}")
            world.write("opsascode.yml", f"{settings}, prometheus: {{url: '{prometheus.url}'}}}}\n")
            world.write("policies/shop.yml", POLICY)
            for name, hand in {"bob": BOB, "carol": CAROL}.items():
                write_key(hand, world.home / "keys" / name)
            commanders = role("incident-commander", 1, "alice", "bob", "carol")
            dave = person("dave", accounts=(account(),))  # who asks the gate here
            install(world, team_root(persons=(*PERSONS[:3], dave), roles=with_roles(commanders)), apply=True)
            yield Scene(world=world, shop=shop, prometheus=prometheus)
        finally:
            shop.over.set()
            traffic.join()


def codes(verdict: Any) -> set[str]:
    return {each["code"] for each in verdict["reasons"]}


def test_from_a_policy_to_an_alert_to_a_blocked_deploy_and_back(scene: Scene, tmp_path: Path) -> None:
    world, prometheus = scene.world, scene.prometheus

    # The policy becomes rules, which Prometheus loads.
    written = world.ops("slo", "rules", "--out", tmp_path / "rules")
    assert written.code == 0, written
    prometheus.reload(rules=sorted((tmp_path / "rules").glob("*.rules.yml")))

    # All is well: the gate passes. (What is asked about is the last full second.)
    prometheus.wait_for(
        'sum(increase(http_requests_total{code="200"}[20s] offset 2s))', lambda found: bool(found) and found[0] > 100
    )
    verdict = scene.gate("--change-class", "deploy")
    assert (verdict["verdict"], verdict["reasons"]) == ("pass", [])

    # Half of the requests fail: the page burns, the budget falls, the gate blocks a deploy, and says why.
    scene.shop.failing.set()
    prometheus.wait_for('ALERTS{alertstate="firing", severity="page", opsascode_service="shop"}')
    prometheus.wait_for(
        'sum(increase(http_requests_total{code="500"}[1h] offset 2s)) / sum(increase(http_requests_total[1h] offset 2s))',
        lambda found: bool(found) and found[0] > 0.06,
    )
    prometheus.wait_for('ALERTS{alertstate="firing", severity="page", opsascode_service="shop"} offset 2s')
    status = world.ops("slo", "status", "shop", "--format", "json").json
    assert status["services"][0]["level"] == "exhausted", status
    verdict = scene.gate("--change-class", "deploy")
    assert verdict["verdict"] == "block"
    assert codes(verdict) == {"BUDGET", "PAGE"}
    assert all(each["position"].startswith("policies/shop.yml:") for each in verdict["reasons"])

    # What mends it may go out; a deploy only when two people say so.
    assert scene.gate("--change-class", "rollback")["verdict"] == "pass"
    scene.approve("bob", verdict["id"])
    again = scene.gate("--change-class", "deploy")
    assert again["verdict"] == "block", again
    scene.approve("carol", verdict["id"])
    overridden = scene.gate("--change-class", "deploy")
    assert overridden["verdict"] == "pass", json.dumps(overridden, indent=1)
    assert set(overridden["override"]["by"]) == {"bob", "carol"}

    # It recovers: the alert ends, and the gate passes by itself.
    scene.shop.failing.clear()
    scene.shop.exporter.counter("http_requests_total", code="200").inc(1_000_000)
    prometheus.wait_for('ALERTS{severity="page", alertstate="firing"}', lambda found: not found)
    deadline = time.monotonic() + 60
    while (verdict := scene.gate("--change-class", "config"))["verdict"] != "pass" and time.monotonic() < deadline:
        time.sleep(1)
    assert (verdict["verdict"], verdict["override"]) == ("pass", None), verdict

    # Every verdict is in the ledger, which holds.
    log = world.ops("ledger", "log", "--format", "json").out
    assert log.count("gate-verdict") >= 6
    assert world.ops("verify", "--all").code == 0
