"""The gate before a change, through the installed command: real Prometheus, real traffic, real keys, real Git."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.proof import MachineRole, PublicKey, TrustedMachine
from tests.slo.prometheus import Exporter, Prometheus, running_prometheus
from tests.trust import HANDS, PERSONS, apply_pack, install, person, pin_root, role, team_root, with_roles, write_key
from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
VERDICT = "urn:opsascode:gate-verdict:v1"
SCORE = "urn:opsascode:gate-score:v1"
SCORING = """
scoring:
  window: 10m
  criteria:
    - {name: errors, query: 'sum(http_requests_total{service="SERVICE",code="500"}) or vector(0)', pass: ["<50"], key: true}
    - {name: size, query: 'sum(http_requests_total{service="SERVICE"})', pass: ["<=+10%"]}
"""


class Metrics:
    """A Prometheus that scrapes a server of ours; each service of a test has its own series."""

    def __init__(self, prometheus: Prometheus, exporter: Exporter) -> None:
        self.prometheus, self.exporter = prometheus, exporter

    def count(self, service: str, code: str, number: int) -> None:
        """Let so many requests end with this code, and wait until Prometheus has seen them."""
        series = f'http_requests_total{{service="{service}",code="{code}"}}'
        counter = self.exporter.counter("http_requests_total", service=service, code=code)
        before = self.prometheus.wait_for(series)[0]
        counter.inc(number)
        self.prometheus.wait_for(series, lambda values: values == [before + number])
        time.sleep(1.1)  # what is asked about is the last full second


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    place = tmp_path_factory.mktemp("metrics")
    with Exporter() as exporter, running_prometheus(place, targets=[exporter.address]) as prometheus:
        yield Metrics(prometheus, exporter)


class Shop:
    """A repository with a policy of one service, a trust root whose alice runs the tests, and keys in files."""

    def __init__(
        self, world: World, service: str, url: str, *, name: str = "test-repository", shared: bool = False
    ) -> None:
        """Make it; `shared` lets the team keep one ledger at a remote, and the machine key come from the environment."""
        self.world, self.service, self.keys, self.name = world, service, world.home / "keys", name
        for each in ("alice", "bob", "carol", "dave"):
            write_key(HANDS[each], self.keys / each)
        machines = (self._machine(),) if shared else ()
        more = ", ledger: {remote: origin}, keys: {machine: 'env:MACHINE_KEY'}" if shared else ""
        self.settings(f"prometheus: {{url: '{url}', timeout: 5s}}{more}")
        self.policy()
        root = team_root(
            persons=(person("alice", accounts=(ACCOUNT, "github:alice-x")), *PERSONS[1:]),
            roles=with_roles(role("policy-approver", 1, "alice", "bob", "carol", "dave")),
            machines=machines,
        )
        self.digest = install(world, root)

    def _machine(self) -> TrustedMachine:
        remote, key = self.world.home / "remote.git", self.keys / "machine"
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", remote], check=True)
        self.world.git("remote", "add", "origin", str(remote))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.world.environment["MACHINE_KEY"] = key.read_text()
        public = PublicKey.from_openssh(key.with_suffix(".pub").read_text())
        return TrustedMachine(name="one", key=public, roles=(MachineRole.RUNNER, MachineRole.LEDGER))

    def settings(self, spec: str) -> None:
        self.world.write("opsascode.yml", f"""
            apiVersion: opsascode/v1
            kind: Repository
            metadata: {{name: {self.name}}}
            spec: {{inventory: inventories/local.yml, {spec}}}
            """)  # fmt: skip

    def policy(self, gate: str = "", name: str = "") -> None:
        name = name or self.service
        body = "".join(f"    {line}\n" for line in gate.replace("SERVICE", self.service).strip().splitlines())
        self.world.write(f"policies/{name}.yml", (
            f"apiVersion: opsascode/v1\nkind: ReliabilityPolicy\nmetadata: {{name: {name}}}\nspec:\n"
            f"  service: {self.service}\n  slo_targets: {{availability: 99%}}\n"
            "  escalation_chain: [{notify: team:sre}]\n" + (f"  gate:\n{body}" if body else "")
        ))  # fmt: skip
        self.world.commit(f"policy {name}")

    def apply(self) -> Shop:
        apply_pack(self.world)
        return self

    def gate(self, *words: str | Path, change_class: str = "deploy", **environment: str) -> Answer:
        asked = ("slo", "gate", "--service", self.service, "--change-class", change_class)
        return self.world.ops(*asked, *words, **environment)

    def told(self, *words: str | Path, **named: Any) -> Any:
        answer = self.gate(*words, "--format", "json", **named)
        assert answer.out, answer.err
        return answer.json

    def approve(self, what: object, name: str, *words: str | Path) -> Answer:
        return self.world.ops("approve", str(what), "--as", name, "--key", self.keys / name, "-y", *words)

    def records(self, kind: str = VERDICT) -> list[Any]:
        """The predicates of this kind in the ledger, the oldest first."""
        return [each for each in statements(self.world) if each["predicateType"] == kind]


def statements(world: World) -> list[Any]:
    """Every statement of this machine's ledger, the oldest first."""
    import base64  # noqa: PLC0415 - here alone

    from opsascode.proof import LedgerReader, PublicKey  # noqa: PLC0415 - here alone

    key = PublicKey.from_openssh(world.public_key.read_text())
    reader = LedgerReader.read(world.ledger, keys=(key,))
    return [json.loads(base64.b64decode(json.loads(each)["payload"])) for each in reader.entries()]


@pytest.fixture
def shop(world: World, metrics: Metrics, request: pytest.FixtureRequest) -> Shop:
    """A shop whose metrics are there, and nothing was asked of it yet."""
    service = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
    for code in ("200", "500"):
        metrics.exporter.counter("http_requests_total", service=service, code=code)
    return Shop(world, service, metrics.prometheus.url)


def test_errors_close_the_gate_two_people_open_it_and_recovery_too(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "200", 10000)
    calm = shop.gate()
    assert calm.code == 0, calm.out + calm.err
    assert f"gate of {shop.service}, deploy: PASS" in calm.out

    metrics.count(shop.service, "500", 60)
    warned = shop.gate()
    assert (warned.code, shop.gate("--strict").code) == (0, 4)
    assert "of the error budget of availability is consumed, warn is 50 %" in warned.out

    metrics.count(shop.service, "500", 30)
    change = ("--change", "shop 1.4.2")
    blocked = shop.gate(*change)
    assert blocked.code == 4
    assert f"gate of {shop.service}, deploy (shop 1.4.2): BLOCK" in blocked.out
    assert "of the error budget of availability is consumed, critical is 80 %" in blocked.out
    assert f"reliability policy {shop.service}, policies/{shop.service}.yml:4:1" in blocked.out
    assert (
        "2 people with the role run-approver, other than who asks, may override this (of bob, carol, dave)"
        in blocked.out
    )
    name = blocked.out.partition("opsascode approve ")[2].split()[0]

    first = shop.approve(name, "bob", "--reason", "the fix is in it")
    assert first.code == 0, first.err
    assert f"service     {shop.service}" in first.out
    assert "change      of class deploy: shop 1.4.2" in first.out
    assert "lets out    this change, and no other one, as long as nothing else blocks it" in first.out
    assert "blocks      BUDGET availability:" in first.out
    again = shop.gate(*change)
    assert again.code == 4
    assert "1 of 2 approvals" in again.out
    assert shop.approve(name, "carol").code == 0

    over = shop.gate(*change)
    assert over.code == 0, over.out
    assert "overridden by bob, carol until 2" in over.out
    assert "critical is 80 %" in over.out, "the reasons stay"
    assert shop.gate(*change, change_class="schema-change").code == 4, "it is for one class"
    for words, asked in (
        (("--change", "shop 1.4.3"), "the change 'shop 1.4.3'"),
        ((), "a gate asked without --change"),
    ):
        other = shop.gate(*words, "--no-record")
        assert other.code == 4, "it is for one change"
        assert f"override not counted: {name}: it is for the change 'shop 1.4.2', not for {asked}" in other.out

    declared = shop.world.ops("incident", "open", "--service", shop.service, "--rank", "1", "--title", "Payments fail")
    assert declared.code == 0, declared.err
    incident = declared.out.split()[0]
    fresh = shop.gate(*change)
    assert fresh.code == 4
    assert f"those who agreed were not shown this: the incident {incident}" in fresh.out
    assert shop.world.ops("incident", "resolve", incident, "--note", "a timeout was too short").code == 0
    assert shop.gate(*change).code == 0

    metrics.count(shop.service, "200", 20000)
    calm = shop.gate()
    assert calm.code == 0
    assert "overridden" not in calm.out


def test_what_was_said_and_by_whom_it_was_overruled_is_recorded(shop: Shop, metrics: Metrics) -> None:
    name = critical(shop, metrics)
    assert shop.told()["request"] == name, "who asks again, asks with the same request"
    assert shop.told("--change", "another")["request"] != name, "about another change people are asked anew"
    mine = shop.approve(name, "alice")
    assert mine.code == 4
    assert "alice started this, and cannot approve it" in mine.err
    for each in ("bob", "carol"):
        assert shop.approve(name, each).code == 0
    assert shop.gate().code == 0
    last = shop.records()[-1]["predicate"]
    assert last["override"]["by"] == ["bob", "carol"]
    assert last["override"]["id"] == name
    assert len(last["override"]["approvals"]) == 2
    assert all(each.startswith("sha256:") for each in last["override"]["approvals"])
    assert last["question"]["snapshots"][0]["targets"][0]["counted"]
    assert last["commit"] == shop.world.git("rev-parse", "HEAD").strip()
    assert shop.world.ops("verify", "--all").code == 0


def test_a_page_that_burns_blocks(shop: Shop, metrics: Metrics) -> None:
    shop.policy("block_at: never")
    shop.apply()
    metrics.count(shop.service, "200", 100)
    metrics.count(shop.service, "500", 100)
    told = shop.told()
    assert [each["code"] for each in told["reasons"]] == ["BUDGET", "PAGE"]
    assert told["verdict"] == "block"
    assert [each["effect"] for each in told["reasons"]] == ["warn", "block"]


def test_exempt_changes_pass_with_the_reasons_shown(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "200", 100)
    metrics.count(shop.service, "500", 100)
    for each in ("rollback", "security", "reliability"):
        answer = shop.gate(change_class=each)
        assert answer.code == 0
        assert "blocks BUDGET" in answer.out
        assert f"exempt: {shop.service} lets changes of class {each} pass" in answer.out
    assert shop.gate(change_class="rollbacks").code == 4


def test_somebody_declines_and_that_stands(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "200", 100)
    metrics.count(shop.service, "500", 100)
    name = shop.told()["request"]
    assert shop.approve(name, "bob").code == 0
    assert shop.approve(name, "dave").code == 0
    assert shop.gate().code == 0
    assert shop.approve(name, "carol", "--decline", "--reason", "wait for the fix").code == 0
    told = shop.told()
    assert told["verdict"] == "block"
    assert told["unused_overrides"][0]["message"] == "declined by carol: wait for the fix"
    assert told["request"] == name, "nobody is asked again for the same"


def test_nothing_is_known_where_prometheus_is_down(shop: Shop) -> None:
    shop.settings("prometheus: {url: 'http://127.0.0.1:9', timeout: 2s}")
    shop.policy("no_data: {then: pass}", name="open-minded")
    shop.world.commit("another place")
    shop.apply()
    told = shop.told()
    assert told["verdict"] == "block", "the worst of both"
    assert [each["code"] for each in told["reasons"]] == ["UNREACHABLE", "UNREACHABLE"]
    assert sorted(each["message"].rpartition(": ")[2] for each in told["reasons"]) == [
        "the gate fails closed", "the gate fails open"]  # fmt: skip
    assert told["unknown"] == "fails closed"


def test_a_gate_that_fails_open_says_so(shop: Shop) -> None:
    shop.settings("prometheus: {url: 'http://127.0.0.1:9', timeout: 2s}")
    shop.policy("no_data: {then: pass}")
    shop.apply()
    answer = shop.gate()
    assert answer.code == 0, answer.out + answer.err
    assert "the gate fails open" in answer.out
    assert "where something is not known, this gate fails open" in answer.out


def test_a_metric_that_was_never_there_is_no_success(shop: Shop) -> None:
    shop.policy("override: never")
    shop.service = "nobody"
    shop.policy("override: never")
    shop.apply()
    answer = shop.gate()
    assert answer.code == 4
    assert "NO_DATA" in answer.out
    assert "the gate fails closed" in answer.out
    assert "nobody may override this" in answer.out
    assert not (shop.world.state / "gates").exists()


# Words and files.


def test_words_that_cannot_be(shop: Shop) -> None:
    shop.apply()
    for words, said in (
        (("--service", "nothing-like-it"), "no reliability policy is about the service"),
        (("--service", f"{shop.service}x"), "did you mean"),
        (("--service", shop.service, "--change-class", "Deploy now"), "is no class of changes"),
        (("--service", shop.service, "--change", "two\nlines"), "one line"),
        (("--service", shop.service, "--since", "2026-01-01T00:00:00Z"), "only --scoring asks"),
        (("--service", shop.service, "--at", "2199-01-01T00:00:00Z"), "lies ahead"),
        (("--service", shop.service, "--at", "yesterday"), "is no moment"),
        (("--service", shop.service, "--scoring"), "says how a change is scored"),
        (("--service", shop.service, "--snapshot", "opsascode.yml"), "is no file of snapshots"),
        (("--service", shop.service, "--summary", "/nowhere/x.md"), "cannot be written"),
    ):
        answer = shop.world.ops("slo", "gate", *words)
        assert answer.code == 2, answer.out + answer.err
        assert said in answer.err, answer.err


def test_without_a_key_nothing_can_be_recorded_and_that_is_no_pass(shop: Shop, metrics: Metrics) -> None:
    shop.settings(f"prometheus: {{url: '{metrics.prometheus.url}'}}, keys: {{machine: 'env:NO_SUCH_KEY'}}")
    shop.world.commit("a key from elsewhere")
    metrics.count(shop.service, "200", 100)
    shutil.rmtree(shop.world.state, ignore_errors=True)
    (shop.world.root / "policies" / "trust" / "1.root.json").unlink()
    answer = shop.gate()
    assert answer.code not in {0, 4}
    assert "NO_SUCH_KEY" in answer.err
    assert "defect" not in answer.err
    assert shop.gate("--no-record").code == 0


def test_with_no_record_nothing_is_written_and_nobody_asked(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "500", 100)
    before = len(statements(shop.world))
    answer = shop.gate("--no-record")
    assert answer.code == 4
    assert "with --no-record nobody is asked" in answer.out
    assert len(statements(shop.world)) == before
    assert not (shop.world.state / "gates").exists()


def test_a_saved_snapshot_is_judged_until_it_is_old(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "200", 100)
    saved = shop.world.home / "seen.json"
    assert shop.world.ops("slo", "status", "--save", saved).code == 0
    assert shop.gate("--snapshot", saved).code == 0
    found = json.loads(saved.read_text())
    for each in found["snapshots"]:
        each["taken"] = "2026-01-01T00:00:00Z"
    saved.write_text(json.dumps(found))
    answer = shop.gate("--snapshot", saved)
    assert answer.code == 4
    assert "and 1h is the grace: the gate fails closed" in answer.out
    back = shop.gate("--snapshot", saved, "--at", "2026-01-01T00:10:00Z")
    assert back.code == 0, back.out


def test_the_summary_is_markdown_and_annotations_name_the_line(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "500", 100)
    summary = shop.world.home / "summary.md"
    answer = shop.gate("--github", "--summary", summary, "--change", "a | b <img src=x> @team ##[error]")
    annotations = [line for line in answer.out.splitlines() if line.startswith("::")]
    assert any(
        line.startswith(f"::error file=policies/{shop.service}.yml,line=4,title=gate of") for line in annotations
    )
    assert "##[" not in answer.out
    text = summary.read_text()
    assert text.startswith(f"## Gate of {shop.service}, deploy: ❌ block")
    assert "| block | BUDGET |" in text
    assert "<img" not in text
    assert "@team" not in text


# Overrides from elsewhere.


def critical(shop: Shop, metrics: Metrics) -> str:
    """Let the gate block, and give the id of the request."""
    shop.apply()
    metrics.count(shop.service, "200", 100)
    metrics.count(shop.service, "500", 2)
    told = shop.told()
    assert told["verdict"] == "block", told
    return str(told["request"])


def test_an_override_comes_as_files(shop: Shop, metrics: Metrics, tmp_path: Path) -> None:
    name = critical(shop, metrics)
    answers = [tmp_path / f"{each}.json" for each in ("bob", "carol")]
    for each, place in zip(("bob", "carol"), answers, strict=True):
        assert shop.approve(name, each, "--out", place).code == 0
    assert shop.gate().code == 4, "what was written to files lies nowhere else"
    words = [word for place in answers for word in ("--override", place)]
    over = shop.gate(*words)
    assert over.code == 0, over.out
    request = shop.world.state / "gates" / name / "asks" / "0.1.json"
    kept = tmp_path / "request.json"
    kept.write_bytes(request.read_bytes())
    shutil.rmtree(shop.world.state / "gates")
    lost = shop.gate(*words)
    assert lost.code == 4
    assert "which no request here or in the mailbox is" in lost.out
    assert shop.gate(*words, "--override", kept).code == 0, "a machine that lives for minutes brings both along"


def test_a_forged_request_does_nothing(shop: Shop, metrics: Metrics, tmp_path: Path) -> None:
    name = critical(shop, metrics)
    for each in ("bob", "carol"):
        assert shop.approve(name, each).code == 0
    assert shop.gate().code == 0
    place = shop.world.state / "gates" / name / "asks" / "0.1.json"
    good = json.loads(place.read_text())

    def refused(change: dict[str, Any], *, about: str) -> None:
        bent = json.loads(json.dumps(good))
        bent[about].update(change)
        place.write_text(json.dumps(bent, sort_keys=True, separators=(",", ":")))
        answer = shop.gate("--no-record")
        assert answer.code == 4, (change, answer.out)

    refused({"requester": "dave"}, about="request")
    refused({"service": "another"}, about="plan")
    refused({"change_class": "another"}, about="plan")
    refused({"until": "2199-01-01T00:00:00Z"}, about="plan")
    refused({"run": "gate-20260101-000000-000000"}, about="request")
    bent = json.loads(json.dumps(good))
    bent["plan"]["reasons"] = []
    place.write_text(json.dumps(bent))
    assert shop.gate("--no-record").code == 4
    place.write_text("{}")
    assert shop.gate("--no-record").code == 4
    place.write_text(json.dumps(good, sort_keys=True, separators=(",", ":")))
    assert shop.gate("--no-record").code == 0


def test_an_override_of_another_repository_does_nothing_here(shop: Shop, metrics: Metrics, tmp_path: Path) -> None:
    name = critical(shop, metrics)
    for each in ("bob", "carol"):
        assert shop.approve(name, each).code == 0
    theirs = Shop(
        new_world(tmp_path / "theirs"), shop.service, metrics.prometheus.url, name="another-repository"
    ).apply()
    kept = shop.world.state / "gates" / name
    words = [
        word
        for place in (kept / "asks" / "0.1.json", *(kept / "approvals").iterdir())
        for word in ("--override", place)
    ]
    answer = theirs.gate(*words)
    assert answer.code == 4
    assert "it is for the repository 'test-repository', not 'another-repository'" in answer.out
    assert theirs.approve(kept / "asks" / "0.1.json", "bob").code == 4


def test_whoever_runs_the_gate_does_not_count_either(shop: Shop, metrics: Metrics) -> None:
    name = critical(shop, metrics)
    for each in ("bob", "carol"):
        assert shop.approve(name, each).code == 0
    assert shop.gate().code == 0
    answer = shop.gate(GITHUB_ACTOR="bob-x")
    assert answer.code == 4
    assert "bob started this and cannot approve it" in answer.out
    assert shop.gate(GITHUB_ACTOR="dave-x").code == 0
    unknown = shop.gate(GITHUB_ACTOR="nobody-x")
    assert unknown.code == 4, "an account nobody is behind could be anybody's"
    assert "nobody's answer would count: this is asked as 'github:nobody-x'" in unknown.out


def test_where_no_answer_could_count_nobody_is_asked_and_it_is_said_at_once(
    shop: Shop, metrics: Metrics, tmp_path: Path
) -> None:
    shop.apply()
    metrics.count(shop.service, "500", 9)
    summary = tmp_path / "summary.md"
    answer = shop.gate("--github", "--summary", summary, GITHUB_ACTOR="nobody-x")
    assert answer.code == 4
    mend = "opsascode trust propose --account PERSON=github:nobody-x"
    said = "nobody's answer would count: this is asked as 'github:nobody-x', and no person of the trust root has the account"
    assert (
        f"    {said}; give it to who works under it: {mend}; once that version holds, ask again [E_REQUESTER]"
        in answer.out
    )
    assert "opsascode approve" not in answer.out
    assert any(line.startswith("::warning ") and "E_REQUESTER" in line for line in answer.out.splitlines())
    assert "E_REQUESTER" in summary.read_text()
    assert not (shop.world.state / "gates").exists(), "nobody is asked in vain"
    told = shop.told("--no-record", GITHUB_ACTOR="nobody-x")
    assert told["request"] is None
    assert told["not_asked"]["code"] == "E_REQUESTER"
    assert told["not_asked"]["message"] == said
    assert mend in told["not_asked"]["mend"]
    asked = shop.told(GITHUB_ACTOR="alice-x")
    assert asked["not_asked"] is None
    assert asked["request_file"] == str(shop.world.state / "gates" / asked["request"] / "asks" / "0.1.json")
    exempt = shop.gate(change_class="rollback", GITHUB_ACTOR="nobody-x")
    assert (exempt.code, "E_REQUESTER" in exempt.out) == (0, False)


def test_questions_nobody_answered_are_pruned_with_old_runs_but_none_that_can_be_overridden(
    shop: Shop, metrics: Metrics
) -> None:
    calm, shop.service = shop.service, "brief"
    shop.policy("override: {lifetime: 6s}")
    shop.service = calm
    open_still = critical(shop, metrics)
    shop.service = "brief"  # without data, it blocks
    signed = shop.told("--change", "1")["request"]
    assert shop.approve(signed, "bob").code == 0
    asked = shop.told("--change", "2")["request"]
    time.sleep(6.1)
    prune = ("runs", "prune", "--older-than", "0s")
    dry = shop.world.ops(*prune, "--dry-run")
    assert f"{asked}  " in dry.out, dry.out + dry.err
    assert "0 runs, and 1 question of gates" in dry.out
    told = shop.world.ops(*prune, "--format", "json").json
    assert (told["pruned"], told["gates"]) == ([], [asked])
    left = {each.name for each in (shop.world.state / "gates").iterdir()}
    assert left == {signed, open_still}
    (record,) = shop.records("urn:opsascode:run-prune:v1")
    assert (record["predicate"]["runs"], record["predicate"]["gates"]) == ([], [asked])
    assert shop.world.ops("verify", "--all").code == 0
    shop.service = calm
    for each in ("bob", "carol"):
        assert shop.approve(open_still, each).code == 0
    assert shop.gate().code == 0


def test_people_on_other_machines_answer_through_git(shop: Shop, metrics: Metrics, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", tmp_path / "remote.git"], check=True)
    shop.settings(f"prometheus: {{url: '{metrics.prometheus.url}'}}, approvals: {{remote: origin}}")
    shop.world.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    shop.world.commit("a mailbox")
    shop.world.git("push", "--quiet", "origin", "main")
    name = critical(shop, metrics)
    for each in ("bob", "carol"):
        home = tmp_path / each
        home.mkdir()
        theirs = World(home=home)
        clone = ["git", "clone", "--quiet", str(tmp_path / "remote.git"), str(theirs.root)]
        subprocess.run(clone, check=True, env=theirs.variables())
        pin_root(theirs, shop.digest)
        listed = theirs.ops("approve", "--list", "--format", "json").json
        assert [(one["kind"], one["run"]) for one in listed] == [("gate", name)]
        answer = theirs.ops("approve", name, "--as", each, "--key", shop.keys / each, "-y")
        assert answer.code == 0, answer.err
        assert "Git remote origin" in answer.out
    shutil.rmtree(shop.world.state / "gates")
    over = shop.gate()
    assert over.code == 0, over.out + over.err
    assert "overridden by bob, carol" in over.out
    assert "nothing waits" in shop.world.ops("approve", "--list").out


# Incidents.


def test_incidents_are_declared_listed_and_ended(shop: Shop, metrics: Metrics) -> None:
    shop.apply()
    metrics.count(shop.service, "200", 100)
    declare = ("incident", "open", "--service", shop.service, "--title", "Payments fail", "--rank")
    assert shop.world.ops("incident", "list").out == "no incident is open\n"
    for word, said in (("5", "from 0, the worst, to 4"), ("P1", "is no rank"), ("-1", "is no rank")):
        answer = shop.world.ops(*declare, word)
        assert answer.code == 2
        assert said in answer.err
    assert shop.world.ops("incident", "open", "--service", "x", "--rank", "1", "--title", "x").code == 2
    first = shop.world.ops(*declare, "2", "--format", "json").json
    second = shop.world.ops(*declare, "0", "--format", "json").json
    assert [each["rank"] for each in shop.world.ops("incident", "list", "--format", "json").json] == [2, 0]
    told = shop.told()
    assert [each["about"] for each in told["reasons"]] == [second["id"]], "rank 2 does not block here"
    assert shop.world.ops("incident", "resolve", "inc-19990101").code == 2
    assert shop.world.ops("incident", "resolve", second["id"], "--note", "restarted").code == 0
    assert shop.world.ops("incident", "resolve", second["id"]).code == 2
    assert shop.told()["verdict"] == "pass"
    assert first["id"] in shop.world.ops("incident", "list").out
    listed = shop.world.ops("incident", "list", "--all").out
    assert "resolved 2" in listed
    assert f"by {ACCOUNT}: restarted" in listed
    kinds = [each["predicate"]["event"] for each in shop.records("urn:opsascode:incident-event:v1")]
    assert kinds == ["opened", "opened", "resolved"]


def test_a_severity_scheme_names_ranks(shop: Shop) -> None:
    shop.world.write("policies/severity.yml", """
        apiVersion: opsascode/v1
        kind: SeverityScheme
        metadata: {name: severity}
        spec: {levels: [{rank: 0, label: P0, aliases: [SEV-1]}, {rank: 1, label: P1}]}
        """)  # fmt: skip
    shop.world.commit("a scheme")
    shop.apply()
    declared = shop.world.ops(
        "incident", "open", "--service", shop.service, "--rank", "sev-1", "--title", "Down", "--format", "json"
    )
    assert declared.json["rank"] == 0


# Scoring.


def test_a_change_is_scored_against_earlier_ones_that_did_well(shop: Shop, metrics: Metrics) -> None:
    shop.policy(SCORING)
    shop.apply()
    metrics.count(shop.service, "200", 1000)
    first = shop.told("--scoring", "--change", "1.0")
    assert first["verdict"] == "pass"
    (card,) = first["cards"]
    assert [each["name"] for each in card["criteria"]] == ["errors", "size"]
    assert card["criteria"][1]["said"].endswith("there is no earlier score to compare with, which passes")
    assert card["compared_with"] == 0

    metrics.count(shop.service, "200", 50)
    second = shop.told("--scoring", "--change", "1.1")
    assert second["verdict"] == "pass"
    assert second["cards"][0]["compared_with"] == 1

    metrics.count(shop.service, "200", 1000)
    third = shop.gate("--scoring", "--change", "1.2")
    assert third.code == 4
    assert "2050 does not hold <=+10% of 1025" in third.out
    assert "50 % of the possible score; pass is 90 %, warn is 75 %" in third.out

    metrics.count(shop.service, "500", 100)
    summary = shop.world.home / "summary.md"
    fourth = shop.gate("--scoring", "--change", "1.3", "--github", "--summary", summary)
    assert fourth.code == 4
    assert "it fails as the key criterion errors failed" in fourth.out
    assert "::error title=score of" in fourth.out
    assert "| fail | errors |" in summary.read_text()
    kept = [each["predicate"] for each in shop.records(SCORE)]
    assert [(each["change"], each["verdict"]) for each in kept] == [
        ("1.0", "pass"), ("1.1", "pass"), ("1.2", "fail"), ("1.3", "fail")]  # fmt: skip


def test_a_score_without_values_fails_and_says_so(shop: Shop, metrics: Metrics) -> None:
    shop.policy("""
        scoring:
          criteria:
            - {name: nothing, query: no_such_metric, pass: ["<=+10%"]}
            - {name: nan, query: "vector(0) / vector(0)", pass: ["<1"]}
            - {name: many, query: up or http_requests_total, pass: ["<1"]}
            - {name: broken, query: "sum(up by)", pass: ["<1"]}
        """)
    shop.apply()
    told = shop.told("--scoring")
    assert told["verdict"] == "fail"
    said = {each["name"]: each["said"] for each in told["cards"][0]["criteria"]}
    assert all(each.startswith("there is no value: ") for each in said.values()), said


def test_a_change_is_looked_at_from_when_it_was_out(shop: Shop, metrics: Metrics) -> None:
    shop.policy("""
        scoring:
          window: 10m
          criteria: [{name: samples, query: 'count_over_time(up[$window]) > 0', pass: [">0"]}]
        """)
    shop.apply()
    since = datetime.now(UTC)
    metrics.prometheus.wait_for(f"timestamp(up offset 2s) > {since.timestamp()}")
    answer = shop.gate("--scoring", "--since", f"{since:%Y-%m-%dT%H:%M:%SZ}")
    assert answer.code == 0, answer.out + answer.err
    assert "have not passed yet; what there is, is scored" in answer.err
