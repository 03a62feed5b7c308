"""A team's machines bring their records together through Git; the remote is not believed."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.proof import MachineRole, PublicKey, TrustedMachine
from tests.slo.prometheus import Exporter, running_prometheus
from tests.trust import ROLES, install, pin_root, team_root
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.slo.prometheus import Prometheus

STEPS = """
- id: hello
  task: {ansible.builtin.command: {argv: [echo, hello]}}
"""
SETTINGS = """
apiVersion: opsascode/v1
kind: Repository
metadata: {{name: test-repository}}
spec:
  inventory: inventories/local.yml
  locks: {locks}
  ledger: {{remote: origin, require: {require}}}
"""
SHOP = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  slo_targets: {availability: 99%}
  escalation_chain: [{notify: team:sre}]
"""
SCORING = """
  gate: {scoring: {criteria: [{name: size, query: size, pass: ["<=+10%"]}]}}
"""
REF = "refs/opsascode/ledger"


def git(place: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True).stdout


class Team:
    """Two machines with a clone each of one remote, listed in the trust root."""

    def __init__(self, place: Path, require: str = "false") -> None:
        self.place = place
        self.remote = place / "remote.git"
        git(place, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
        self.one, self.two = new_world(place / "one"), World(home=place / "two")
        self.two.home.mkdir()
        self.two.environment["HOME"] = str(self.two.home)
        for world in (self.one, self.two):
            world.public_key.parent.mkdir(mode=0o700, parents=True)
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.public_key.with_suffix("")], check=True
            )
        self.witness_key = place / "witness"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.witness_key], check=True)
        self.one.write("opsascode.yml", SETTINGS.format(locks=place / "locks", require=require))
        self.one.runbook("hello", STEPS)
        roles = (MachineRole.RUNNER, MachineRole.LEDGER)
        machines = (
            *(TrustedMachine(name=name, key=key(world.public_key), roles=roles)
              for name, world in (("one", self.one), ("two", self.two))),
            TrustedMachine(name="w", key=key(self.witness_key.with_suffix(".pub")), roles=(MachineRole.WITNESS,)),
        )  # fmt: skip
        roles_ = tuple(each for each in ROLES if each.name != "policy-approver")  # forward changes need nobody
        digest = install(self.one, team_root(machines=machines, roles=roles_, witness_quorum=1))
        self.one.git("remote", "add", "origin", str(self.remote))
        self.one.git("push", "--quiet", "origin", "main")
        git(place, "clone", "--quiet", str(self.remote), str(self.two.root))
        pin_root(self.two, digest)
        for world in (self.one, self.two):
            applied = world.ops("policy", "apply")
            assert applied.code == 0, applied.err

    def deliver(self, what: str) -> None:
        """Bring what the first machine has changed to both, and apply it there."""
        self.one.commit(what)
        self.one.git("push", "--quiet", "origin", "main")
        self.two.git("pull", "--quiet", "origin", "main")
        for world in (self.one, self.two):
            applied = world.ops("policy", "apply")
            assert applied.code == 0, applied.err

    def run(self, world: World) -> str:
        done = world.ops("run", "hello", "--limit", "web1", "-y", "--format", "json")
        assert done.code == 0, done.err
        return str(done.lines[-1]["run"])


def key(path: Path) -> PublicKey:
    return PublicKey.from_openssh(path.read_text())


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def runs(world: World) -> list[str]:
    told = world.ops("ledger", "log", "--team", "--format", "json")
    assert told.code == 0, told.err
    return [one["subject"] for one in told.json if one["predicate_type"].startswith("urn:opsascode:run-end")]


def test_what_one_machine_ran_the_other_knows(team: Team) -> None:
    first, second = team.run(team.one), team.run(team.two)
    told = team.one.ops("ledger", "sync")
    assert told.code == 0, told.err
    assert "0 entries handed over" in told.out
    assert "0 entries of others" not in told.out
    assert runs(team.one) == runs(team.two) == [first, second]
    assert team.one.ops("verify", "--all").code == 0


def test_an_incident_of_one_machine_closes_the_gate_on_the_other_and_is_ended_there(team: Team) -> None:
    team.one.write("policies/shop.yml", SHOP)
    team.deliver("promise")
    declared = team.one.ops(
        "incident", "open", "--service", "shop", "--rank", "0", "--title", "Down", "--format", "json"
    )
    assert declared.code == 0, declared.err
    asked = team.two.ops("slo", "gate", "--service", "shop", "--change-class", "deploy", "--format", "json")
    assert asked.code == 4, asked.err
    assert declared.json["id"] in {each["about"] for each in asked.json["reasons"] if each["code"] == "INCIDENT"}
    ended = team.two.ops("incident", "resolve", declared.json["id"], "--note", "restarted")
    assert ended.code == 0, ended.err
    assert team.one.ops("incident", "list").out == "no incident is open\n"
    again = team.one.ops("slo", "gate", "--service", "shop", "--change-class", "deploy", "--format", "json")
    assert "INCIDENT" not in {each["code"] for each in again.json["reasons"]}


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[tuple[Prometheus, Any]]:
    """A Prometheus, and the gauge that it scrapes."""
    with Exporter() as exporter, running_prometheus(tmp_path / "metrics", targets=[exporter.address]) as prometheus:
        yield prometheus, exporter.gauge("size")


def test_a_score_of_one_machine_that_passed_is_what_the_other_compares_with(
    team: Team, metrics: tuple[Prometheus, Any]
) -> None:
    prometheus, size = metrics
    address = f"  prometheus: {{url: '{prometheus.url}'}}\n"
    team.one.write("opsascode.yml", SETTINGS.format(locks=team.place / "locks", require="false") + address)
    team.one.write("policies/shop.yml", SHOP + SCORING)
    team.deliver("how a change is scored")

    def scored(world: World, value: int) -> tuple[int, int, str]:
        size.set(value)
        prometheus.wait_for("size offset 2s", lambda values: values == [value])
        answer = world.ops("slo", "gate", "--service", "shop", "--scoring", "--format", "json")
        assert answer.out, answer.err
        (card,) = answer.json["cards"]
        return answer.code, card["compared_with"], card["criteria"][0]["said"]

    assert scored(team.one, 100)[:2] == (0, 0), "there is nothing to compare with yet"
    code, compared, said = scored(team.two, 150)
    assert (code, compared) == (4, 1), "the score of the other machine is known"
    assert "150 does not hold <=+10% of 100" in said
    code, compared, said = scored(team.one, 111)
    assert (code, compared) == (4, 1), "nobody compares with a score that did not pass"
    assert "111 does not hold <=+10% of 100" in said
    assert scored(team.two, 108)[:2] == (0, 1)
    code, compared, said = scored(team.one, 111)
    assert (code, compared) == (0, 2), said


def test_a_witness_cosigns_and_a_stranger_can_check(team: Team) -> None:
    team.run(team.one)
    request = team.one.ops("ledger", "checkpoint", "--team", "--since", "0").out
    words = ("ledger", "witness", "--key", team.witness_key, "--state", team.place / "seen", "--name", "w", "-")
    line = team.two.ops(*words, stdin=request)
    assert line.code == 0, line.err
    (team.place / "lines").write_text(line.out)
    told = team.one.ops("ledger", "sync", "--cosignatures", team.place / "lines")
    assert "cosigned by w" in told.out, told.err
    assert team.two.ops("ledger", "checkpoint", "--team").out.endswith(line.out)
    assert team.two.ops("ledger", "checkpoint", "--team", "--witnessed", "--max-age", "1h").out.endswith(line.out)
    team.run(team.two)
    again = team.two.ops(*words, stdin=team.one.ops("ledger", "checkpoint", "--team", "--since", "0").out)
    assert again.code == 5
    assert "seen here" in again.err
    seen = request.splitlines()[3]
    assert f"--since {seen}" in again.err
    assert team.two.ops(*words, stdin=team.one.ops("ledger", "checkpoint", "--team", "--since", seen).out).code == 0


def test_a_remote_that_goes_back_is_refused_and_a_fork_is_proven_to_anybody(team: Team) -> None:
    team.run(team.one)
    before = git(team.remote, "rev-parse", REF).strip()
    team.run(team.one)
    git(team.remote, "update-ref", REF, before)
    told = team.one.ops("ledger", "sync")
    assert (told.code, "were seen on this machine" in told.err) == (5, True)
    team.run(team.two)
    team.run(team.two)
    told = team.one.ops("ledger", "sync")
    assert told.code == 5
    (proof,) = (team.one.state / "forks").iterdir()
    assert str(proof) in told.err
    shown = team.two.ops("verify", proof)
    assert (shown.code, "FORK: two histories" in shown.out) == (0, True), shown.out
    stranger = team.two.ops("verify", proof, "--key", team.witness_key.with_suffix(".pub"))
    assert stranger.code == 5


def test_a_run_goes_on_without_the_remote_and_says_so(team: Team) -> None:
    shutil.move(team.remote, team.place / "away.git")
    done = team.one.ops("run", "hello", "--limit", "web1", "-y")
    assert done.code == 0, done.err
    assert "not in the team's ledger yet" in done.err + done.out
    shutil.move(team.place / "away.git", team.remote)
    assert "2 entries handed over" in team.one.ops("ledger", "sync").out


def test_where_it_is_required_nothing_runs_before_the_team_has_the_start_record(tmp_path: Path) -> None:
    team = Team(tmp_path, require="true")
    team.run(team.one)
    shutil.move(team.remote, team.place / "away.git")
    team.one.runbook("mark", f"- id: mark\n  task: {{ansible.builtin.command: touch {tmp_path / 'mark'}}}")
    team.one.commit()
    done = team.one.ops("run", "mark", "--limit", "web1", "-y")
    assert done.code not in {0, 70}, done.out
    assert "nothing was run" in done.err + done.out
    assert not (tmp_path / "mark").exists()
    shutil.move(team.place / "away.git", team.remote)
    team.one.ops("ledger", "sync")
    assert len(runs(team.one)) == 2, "also the run that could not begin has its end"


def test_without_the_setting_it_says_what_to_write(tmp_path: Path) -> None:
    world = new_world(tmp_path / "alone")
    told = world.ops("ledger", "sync")
    assert told.code == 2
    assert "spec: {ledger: {remote: origin}}" in told.err
