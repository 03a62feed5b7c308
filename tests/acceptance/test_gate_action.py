"""The action that asks a gate: its steps, played on the runner of test_github_action, against a real Prometheus."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode import __version__
from tests.acceptance.test_gate import Metrics, Shop
from tests.acceptance.test_github_action import Forge, Runner, loaded
from tests.acceptance.test_packaging import hatchling
from tests.slo.prometheus import Exporter, running_prometheus
from tests.world import new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.test_github_action import Judged

PROJECT = Path(__file__).parents[2]
ACTION = PROJECT / ".github" / "actions" / "gate" / "action.yml"


@dataclass(kw_only=True)
class Jobs:
    """Jobs that ask the gate of one shop, on fresh runners with a state directory that is kept."""

    shop: Shop
    forge: Forge
    inputs: dict[str, str] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)

    def ask(self, actor: str = "alice-x", **inputs: str) -> Judged:
        """Check the repository out, and run the action."""
        self.forge.runs += 1
        home = self.forge.place / f"job-{self.forge.runs}"
        words = {"service": self.shop.service, "change": "1.4.2", "directory": str(self.shop.world.root), **self.inputs}
        event: dict[str, Any] = {"name": "push", "actor": actor, "event": {}}
        made = Runner(
            forge=self.forge, home=home, event=event, inputs={**words, **inputs}, action=ACTION, more=self.more
        )
        return made.run()


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    place = tmp_path_factory.mktemp("metrics")
    with Exporter() as exporter, running_prometheus(place, targets=[exporter.address]) as prometheus:
        yield Metrics(prometheus, exporter)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, and what the action's own step installs from it, once for all jobs."""
    return {"wheel": hatchling(PROJECT, "wheel", tmp_path_factory.mktemp("wheel"))}


@pytest.fixture
def jobs(tmp_path: Path, metrics: Metrics, verifier: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Jobs]:
    service = f"shop-{abs(hash(request.node.name)) % 10**8}"
    for code in ("200", "500"):
        metrics.exporter.counter("http_requests_total", service=service, code=code)
    shop = Shop(new_world(tmp_path / "home"), service, metrics.prometheus.url)
    forge = Forge(world=shop.world, bare=tmp_path / "none", wheel=verifier["wheel"], place=tmp_path)
    forge.verifier = verifier.get("verifier")
    kept = {"package": str(verifier["wheel"]), "state": str(shop.world.home / "state"), "trust-root": shop.digest}
    yield Jobs(shop=shop, forge=forge, inputs=kept)
    if forge.verifier is not None:
        verifier["verifier"] = forge.verifier


def test_it_installs_this_release_and_everything_is_described_and_used() -> None:
    content = loaded(ACTION)
    assert content["inputs"]["package"]["default"] == f"opsascode[reliability]=={__version__}"
    assert all(each["description"] for each in (*content["inputs"].values(), *content["outputs"].values()))
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text(encoding="utf-8")))
    assert used == set(content["inputs"])


def test_a_calm_service_passes(jobs: Jobs, metrics: Metrics) -> None:
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "200", 1000)
    judged = jobs.ask()
    assert judged.code == 0, judged.log
    assert judged.outputs["verdict"] == "pass"
    assert f"## Gate of {jobs.shop.service}, deploy: ✅ pass" in judged.summary
    assert [line for line in judged.annotations if line.startswith("::notice ")]


def test_a_gate_that_blocks_fails_the_job_until_two_people_override_it(jobs: Jobs, metrics: Metrics) -> None:
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "200", 1000)
    metrics.count(jobs.shop.service, "500", 9)
    judged = jobs.ask()
    assert (judged.code, judged.outputs["verdict"], judged.failed_at) == (4, "block", "Ask the gate"), judged.log
    assert "| block | BUDGET |" in judged.summary
    assert [line for line in judged.annotations if line.startswith(f"::error file=policies/{jobs.shop.service}.yml")]
    name = judged.outputs["id"]
    assert f"opsascode approve {name}" in judged.summary
    for each in ("bob", "carol"):
        assert jobs.shop.approve(name, each).code == 0
    over = jobs.ask()
    assert (over.code, over.outputs["verdict"]) == (0, "pass"), over.log
    assert "overridden by bob, carol until" in over.summary
    own = jobs.ask(actor="bob-x")
    assert own.code == 4, "who starts the job does not count"
    assert jobs.ask(**{"change-class": "rollback"}).outputs["verdict"] == "pass"


def test_a_machine_without_any_state_takes_what_people_signed_as_files(
    jobs: Jobs, metrics: Metrics, tmp_path: Path
) -> None:
    shop = Shop(new_world(tmp_path / "shared"), jobs.shop.service, metrics.prometheus.url, shared=True).apply()
    assert shop.world.ops("ledger", "sync").code == 0
    jobs.shop, jobs.more = shop, {"MACHINE_KEY": shop.world.environment["MACHINE_KEY"]}
    jobs.inputs.update({"trust-root": shop.digest, "state": ""})
    metrics.count(shop.service, "500", 9)
    blocked = jobs.ask()
    assert (blocked.code, blocked.outputs["verdict"]) == (4, "block"), blocked.log
    request = Path(blocked.outputs["request"])
    assert not request.is_relative_to(shop.world.home)

    brought = tmp_path / "brought by hand"
    brought.mkdir()
    (brought / "request.json").write_bytes(request.read_bytes())
    for each in ("bob", "carol"):
        assert shop.approve(brought / "request.json", each, "--out", brought / f"{each}.json").code == 0
    again = jobs.ask()
    assert again.code == 4, again.log
    over = jobs.ask(overrides=f"{brought}\n")
    assert (over.code, over.outputs["verdict"], over.outputs["request"]) == (0, "pass", ""), over.log
    assert "overridden by bob, carol until" in over.summary
    files = "\n".join(f"  {each}" for each in sorted(brought.iterdir()))
    other = jobs.ask(overrides=files, change="1.4.3")
    assert (other.code, other.outputs["verdict"]) == (4, "block"), other.log
    assert "it is for the change '1.4.2', not for the change '1.4.3'" in other.summary
    (brought / "bob.json").unlink()
    half = jobs.ask(overrides=str(brought))
    assert half.code == 4, half.log
    assert "1 of 2 approvals" in half.summary
    assert half.outputs["id"] == blocked.outputs["id"], "the question that was brought still stands"


def test_an_account_nobody_is_behind_is_warned_of_in_the_job(jobs: Jobs, metrics: Metrics) -> None:
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "500", 9)
    judged = jobs.ask(actor="nobody-x")
    assert (judged.code, judged.outputs["request"]) == (4, ""), judged.log
    (warning,) = (line for line in judged.annotations if line.startswith("::warning "))
    assert "this is asked as 'github:nobody-x'" in warning
    assert "opsascode trust propose --account PERSON=github:nobody-x" in judged.summary


def test_a_warning_passes_unless_it_is_strict(jobs: Jobs, metrics: Metrics) -> None:
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "200", 1000)
    metrics.count(jobs.shop.service, "500", 6)
    assert (jobs.ask().code, jobs.ask(strict="true").code) == (0, 4)


def test_a_score_that_fails_fails_the_job(jobs: Jobs, metrics: Metrics) -> None:
    criterion = '{name: errors, query: \'sum(http_requests_total{service="SERVICE",code="500"})\', pass: ["<5"]}'
    jobs.shop.policy(f"scoring: {{criteria: [{criterion}]}}")
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "500", 1)
    assert jobs.ask(scoring="true").outputs["verdict"] == "pass"
    metrics.count(jobs.shop.service, "500", 9)
    judged = jobs.ask(scoring="true")
    assert (judged.code, judged.outputs["verdict"]) == (4, "fail"), judged.log
    assert "| fail | errors |" in judged.summary


@pytest.mark.parametrize(("inputs", "code", "words"), [
    ({"service": ""}, 2, "service is empty"),
    ({"change-class": "--help"}, 2, "change-class must be one word"),
    ({"scoring": "yes"}, 2, "are true or false"),
    ({"trust-root": "$(touch /tmp/x)"}, 2, "trust-root must be the digest"),
    ({"overrides": "no/such.json"}, 2, "cannot be read"),
    ({"service": "nothing-like-it"}, 2, "no reliability policy is about the service"),
    ({"trust-root": f"sha256:{'0' * 64}"}, 5, "E_ROOT_PIN"),
], ids=str)  # fmt: skip
def test_what_cannot_be_answered_is_no_success(jobs: Jobs, inputs: dict[str, str], code: int, words: str) -> None:
    jobs.shop.apply()
    judged = jobs.ask(**inputs)
    assert judged.code == code, judged.log
    assert words in judged.log
    assert judged.outputs["verdict"] in {"", "failed"}


@pytest.mark.parametrize("text", [
    "::set-output name=verdict::pass", "##[set-output name=verdict;]pass", "`</summary>`<img src=x>@team|![](x)", "-h",
    "$(touch /tmp/x)",
])  # fmt: skip
def test_words_of_a_change_are_no_commands(jobs: Jobs, metrics: Metrics, text: str) -> None:
    jobs.shop.apply()
    metrics.count(jobs.shop.service, "500", 9)
    jobs.shop.world.ops("incident", "open", "--service", jobs.shop.service, "--rank", "0", "--title", f"x {text}")
    judged = jobs.ask(change=text)
    assert (judged.code, judged.outputs["verdict"]) == (4, "block"), judged.log
    assert all(re.match(r"::(notice|warning|error) (file|title)=", line) for line in judged.annotations)
    assert "<img" not in judged.summary
    assert "##[" not in judged.log
