"""The workflows and the action: what they may do, and what they answer to pull requests, played on a runner of our own.

The runner is small and real: it evaluates the expressions in `with:` and `env:`, clones as actions/checkout does, and
gives every `run:` to bash as GitHub does, with its files for outputs and the summary. The forge is a bare repository.
Only Python is not set up again: the `python` of the tests is found first, and pip takes the wheel without asking an index.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from opsascode import __version__
from tests.acceptance.test_packaging import hatchling
from tests.people import ALICE, BOB, CAROL, DAVE
from tests.trust import install, role, signed, team_root, with_roles, write_key
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.people import Hand

PROJECT = Path(__file__).parents[2]
ACTION = PROJECT / ".github" / "actions" / "policy" / "action.yml"
SCAFFOLD = PROJECT / "opsascode" / "scaffold" / "dot-github"
WORKFLOWS = sorted([*PROJECT.glob(".github/workflows/*.yml"), *SCAFFOLD.glob("workflows/*.yml")])
ACTIONS = sorted([*PROJECT.glob(".github/actions/*/action.yml"), *SCAFFOLD.glob("actions/*/action.yml")])
ALLOWED_ACTIONS = {"actions/checkout", "actions/setup-python"}
EVENTS = {"pull_request", "merge_group", "push", "workflow_dispatch"}


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def loaded(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found = loaded(path)["jobs"]
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> Iterator[dict[str, Any]]:
    content = loaded(path)
    groups = [content["runs"]] if "runs" in content else content["jobs"].values()
    for group in groups:
        yield from group["steps"]


# What every workflow must be.


def test_there_are_workflows_and_actions_to_look_at() -> None:
    assert {"ci.yml", "policy.yml", "ops.yml"} == {path.name for path in WORKFLOWS}
    assert {"policy", "simulate"} <= {path.parent.name for path in ACTIONS}


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_no_workflow_is_started_by_an_event_that_gives_strangers_its_rights(path: Path) -> None:
    events = loaded(path)[True]  # YAML 1.1 reads «on» so
    assert set(events) <= EVENTS


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_every_job_says_what_it_may_and_it_is_to_read(path: Path) -> None:
    assert loaded(path)["permissions"] == {}
    for title, job in jobs(path).items():
        # Only what writes the comment on a pull request may write anything, and that is all it may.
        more = {"pull-requests": "write"} if title == "simulate" else {}
        assert job["permissions"] in ({}, {"contents": "read", **more})
        assert job["timeout-minutes"] <= 60
        assert "secrets" not in json.dumps(job)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_what_is_used_is_pinned_by_commit_and_known(path: Path) -> None:
    for step in steps(path):
        used = step.get("uses")
        if used is None or used.startswith("./"):
            continue
        action, _, commit = used.partition("@")
        assert action in ALLOWED_ACTIONS
        assert re.fullmatch("[0-9a-f]{40}", commit), used
    pins = re.findall(r"uses: \S+@(\S+) # (v\S+)", path.read_text(encoding="utf-8"))
    assert len({commit for commit, _ in pins}) == len({version for _, version in pins})


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_no_expression_reaches_a_script(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", ""), "values reach a script by its environment only"


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_no_clone_keeps_the_token(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=name)
def test_every_script_is_good_shell(path: Path, tmp_path: Path) -> None:
    for number, step in enumerate(step for step in steps(path) if "run" in step):
        script = tmp_path / f"{number}.sh"
        script.write_text("#!/bin/bash\nset -eo pipefail\n" + step["run"])
        command = ["shellcheck"] if Path("/usr/bin/shellcheck").exists() else ["bash", "-n"]
        done = subprocess.run([*command, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [path for path in WORKFLOWS if path.name != "ci.yml"], ids=name)
def test_the_check_of_policies_runs_on_every_pull_request_and_takes_the_action_from_its_base(path: Path) -> None:
    content = loaded(path)
    assert content[True]["pull_request"] == {"branches": ["main"]}
    assert "merge_group" in content[True]
    job = jobs(path)["policy"]
    assert job.get("if", "github.event_name != 'push'") == "github.event_name != 'push'", (
        "a skipped check counts as passed"
    )
    checkout, action = job["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.merge_group.base_sha || github.event.pull_request.base.ref }}"
    assert action["uses"] == "./.github/actions/policy"


@pytest.mark.parametrize(("title", "extra"), [("policy", ""), ("simulate", "[reliability]")])
def test_new_repositories_get_the_same_action_and_it_installs_this_release(title: str, extra: str) -> None:
    action = PROJECT / ".github" / "actions" / title / "action.yml"
    assert (SCAFFOLD / "actions" / title / "action.yml").read_bytes() == action.read_bytes()
    assert loaded(action)["inputs"]["package"]["default"] == f"opsascode{extra}=={__version__}"


@pytest.mark.parametrize("path", ACTIONS, ids=name)
def test_every_input_and_output_is_described_and_inputs_are_used(path: Path) -> None:
    content = loaded(path)
    assert all(each["description"] for each in (*content["inputs"].values(), *content.get("outputs", {}).values()))
    used = set(re.findall(r"inputs\.([a-z-]+)", path.read_text(encoding="utf-8")))
    assert used == set(content["inputs"])


@pytest.mark.parametrize("page", ["run-in-ci", "review-policies-on-github"])
def test_workflows_on_the_pages_keep_the_same_rules(page: str) -> None:
    text = (PROJECT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    blocks = [
        block for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "jobs:" in block
    ]
    assert blocks
    for content in map(yaml.safe_load, blocks):
        assert content["permissions"] == {}
        assert set(content[True]) <= EVENTS
        for job in content["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
            used = [step["uses"] for step in job["steps"] if "uses" in step]
            assert all(re.fullmatch(r"\./\S+|actions/(checkout|setup-python)@[0-9a-f]{40}", each) for each in used)
    assert not re.search(r"run: .*\$\{\{", text)


# A runner of our own.


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of the action on a runner."""

    code: int
    outputs: Mapping[str, str]
    summary: str
    log: str
    failed_at: str

    @property
    def annotations(self) -> list[str]:
        """The workflow commands that a runner would have obeyed: not those between a stop and its end."""
        found, stopped = [], ""
        for line in self.log.splitlines():
            if stopped:
                stopped = "" if line == f"::{stopped}::" else stopped
            elif line.startswith("::stop-commands::"):
                stopped = line.removeprefix("::stop-commands::")
            elif line.lstrip().startswith("::") or "##[" in line:
                found.append(line)
        return found


@dataclass(kw_only=True)
class Forge:
    """A repository on a forge, and the clone of the person who works on it."""

    world: World
    bare: Path
    wheel: Path
    place: Path
    runs: int = 0
    verifier: Path | None = None
    inputs: dict[str, str] = field(default_factory=dict)

    def push(self, *refs: str) -> None:
        self.world.git("push", "--quiet", "--force", str(self.bare), *refs)

    def branch(self, title: str) -> None:
        self.world.git("switch", "--quiet", "--create", title, "main")

    def open(self, number: int = 1, *, login: str = "mallory-x", actor: str = "") -> dict[str, Any]:
        """Push what is checked out as a pull request to main, and give the event that tells of it."""
        head = self.world.git("rev-parse", "HEAD").strip()
        self.push("main", f"HEAD:refs/pull/{number}/head")
        base = {"ref": "main", "sha": self.world.git("rev-parse", "main").strip()}
        request = {"number": number, "user": {"login": login}, "base": base, "head": {"sha": head, "ref": "topic"}}
        return {"name": "pull_request", "actor": actor or login, "event": {"pull_request": request}}

    def judge(self, event: Mapping[str, Any], **inputs: str) -> Judged:
        """Run the action as a job of its own, in an empty workspace."""
        self.runs += 1
        runner = Runner(forge=self, home=self.place / f"job-{self.runs}", event=event, inputs={**self.inputs, **inputs})
        return runner.run()


@dataclass(kw_only=True)
class Runner:
    """One job on a fresh machine, with the action as its only step."""

    forge: Forge
    home: Path
    event: Mapping[str, Any]
    inputs: Mapping[str, str]
    action: Path = ACTION
    more: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""

    @property
    def workspace(self) -> Path:
        return self.home / "work"

    @property
    def temporary(self) -> Path:
        return self.home / "temp"

    def run(self) -> Judged:
        for path in (self.workspace, self.temporary):
            path.mkdir(parents=True)
        (self.home / "event.json").write_text(json.dumps(self.event["event"]))
        (self.home / "summary.md").touch()
        code, failed_at = 0, ""
        for step in loaded(self.action)["runs"]["steps"]:
            code = self._step(step)
            if code:
                failed_at = step["name"]
                break
        outputs = {key: self._filled(each["value"]) for key, each in loaded(self.action)["outputs"].items()}
        summary = (self.home / "summary.md").read_text()
        return Judged(code=code, outputs=outputs, summary=summary, log=self.log, failed_at=failed_at)

    def _step(self, step: Mapping[str, Any]) -> int:
        used = step.get("uses", "").partition("@")[0]
        if used == "actions/checkout":
            return self._checkout({key: self._filled(str(value)) for key, value in step["with"].items()})
        if used == "actions/setup-python":
            return 0
        if step["name"] == "Install the verifier" and self.forge.verifier is not None:
            (self.temporary / "opsascode").symlink_to(self.forge.verifier)
            return 0
        code = self._script(step)
        if step["name"] == "Install the verifier" and not code:
            self.forge.verifier = self.temporary / "opsascode"
        return code

    def _checkout(self, words: Mapping[str, str]) -> int:
        """Clone as actions/checkout does with fetch-depth 0."""
        place = self.workspace / words["path"]
        place.mkdir()
        assert words["fetch-depth"] == "0"
        refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        wanted = words["ref"] if re.fullmatch("[0-9a-f]{40}", words["ref"]) else f"refs/remotes/origin/{words['ref']}"
        for command in (
            ("init", "--quiet"), ("remote", "add", "origin", str(self.forge.bare)), ("fetch", "--quiet", "--no-tags", "origin", *refs),
            ("checkout", "--quiet", "--detach", wanted),
        ):  # fmt: skip
            done = subprocess.run(
                ["git", *command], cwd=place, env=self._variables(), capture_output=True, text=True, check=False
            )
            if done.returncode:
                self.log += done.stderr
                return done.returncode
        return 0

    def _script(self, step: Mapping[str, Any]) -> int:
        assert step["shell"] == "bash"
        script, output = self.home / "script.sh", self.home / "output.txt"
        script.write_text(step["run"])
        output.write_text("")
        variables = {key: self._filled(value) for key, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.workspace / step.get("working-directory", "."),
            env={**self._variables(), "GITHUB_OUTPUT": str(output), **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        self.log += done.stdout
        if "id" in step:
            pairs = (line.partition("=") for line in output.read_text().splitlines())
            self.outputs[step["id"]] = {key: value for key, _, value in pairs}
        return done.returncode

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": self.event["actor"],
            "GITHUB_EVENT_NAME": self.event["name"],
            "GITHUB_EVENT_PATH": str(self.home / "event.json"),
            "GITHUB_SERVER_URL": "https://forge.invalid",
            "GITHUB_STEP_SUMMARY": str(self.home / "summary.md"),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temporary),
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PYTHONPATH": sysconfig.get_path("purelib"),  # what the wheel depends on
            **self.more,
        }

    def _filled(self, text: str) -> str:
        """Put the values of expressions in their place: names, and ||, && between them."""
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(self._value(found[1]) or ""), text)

    def _value(self, expression: str) -> Any:
        for word, stops in (("||", True), ("&&", False)):
            if word in expression:
                value = None
                for part in expression.split(word):
                    value = self._value(part)
                    if bool(value) is stops:
                        break
                return value
        first, *rest = expression.strip().split(".")
        return self._context(first, rest)

    def _context(self, first: str, rest: list[str]) -> Any:
        if first == "inputs":
            (wanted,) = rest
            default = loaded(self.action)["inputs"][wanted].get("default", "")
            return self.inputs.get(wanted, self._filled(default))
        if first == "steps":
            return self.outputs.get(rest[0], {}).get(rest[2], "")
        assert first == "github", first
        value: Any = {"event": self.event["event"], "actor": self.event["actor"], "token": "t0ken"}
        for each in rest:
            value = value.get(each) if isinstance(value, dict) else None
        return value


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling(PROJECT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def verifier(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier as the action's own step installs it, once for all jobs."""
    forge = made_forge(tmp_path_factory.mktemp("first"), wheel)
    assert forge.judge(forge.open(), package=str(wheel)).code == 0
    assert forge.verifier is not None
    return forge.verifier


@pytest.fixture
def forge(tmp_path: Path, wheel: Path, verifier: Path) -> Forge:
    """A forge whose repository has a policy and no trust root."""
    found = made_forge(tmp_path, wheel)
    found.verifier = verifier
    return found


def made_forge(place: Path, wheel: Path) -> Forge:
    world = new_world(place / "home")
    guardrail(world, 5)
    world.commit("a policy")
    bare = place / "forge.git"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    return Forge(world=world, bare=bare, wheel=wheel, place=place)


def guardrail(world: World, most: int, *, title: str = "Few hosts at once") -> None:
    world.write("policies/steps.yml", f"""
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {{name: small-steps, title: "{title}"}}
        spec:
          require: {{max_hosts: {most}}}
          reason: Mistakes stay small.
        """)  # fmt: skip


# What it answers.


def test_the_verifier_that_is_installed_is_the_one_that_was_asked_for(verifier: Path) -> None:
    done = subprocess.run(
        [verifier / "bin" / "python", "-c", "import opsascode; print(opsascode.__file__)"],
        capture_output=True, text=True, check=True, cwd=verifier, env={"PATH": os.defpath},
    )  # fmt: skip
    assert Path(done.stdout.strip()).is_relative_to(verifier.resolve())


def test_without_a_trust_root_it_says_that_nobody_guards(forge: Forge) -> None:
    forge.branch("topic")
    guardrail(forge.world, 500)
    forge.world.commit("weaker")
    judged = forge.judge(forge.open())
    assert judged.code == 0, judged.log
    assert judged.outputs["decision"] == "unguarded"
    assert "not guarded yet" in judged.summary
    assert [line for line in judged.annotations if line.startswith("::warning title=Policies are not guarded yet::")]


@pytest.mark.parametrize(("inputs", "words"), [
    ({"head": "main"}, "head must be the full id"),
    ({"head": "--upload-pack=touch /tmp/x"}, "head must be the full id"),
    ({"head": ""}, "head must be the full id"),
    ({"base": ""}, "base is empty"),
    ({"trust-root": "sha256:abc"}, "trust-root must be the digest"),
    ({"trust-root": "$(touch /tmp/x)"}, "trust-root must be the digest"),
], ids=str)  # fmt: skip
def test_words_it_cannot_use_end_it_before_anything_is_fetched(
    forge: Forge, inputs: dict[str, str], words: str
) -> None:
    judged = forge.judge(forge.open(), **inputs)
    assert judged.code == 2
    assert judged.failed_at == "Look at what was asked"
    assert words in judged.log
    assert not (forge.place / f"job-{forge.runs}" / "work" / "opsascode-base").exists()


def test_a_head_that_the_forge_does_not_have_is_no_success(forge: Forge) -> None:
    judged = forge.judge(forge.open(), head="1" * 40)
    assert judged.code != 0
    assert judged.failed_at == "Fetch the objects of the change, and what people signed"


def test_a_trust_root_that_the_workflow_does_not_name_is_no_success(forge: Forge) -> None:
    install(forge.world)
    judged = forge.judge(forge.open())
    assert judged.code != 0
    assert judged.outputs["decision"] == "failed"
    assert "E_ROOT_PIN" in judged.log
    assert "not judged" in judged.summary
    assert "E_ROOT_PIN" in judged.summary


def test_the_token_is_nowhere_but_in_the_environment_of_the_step_that_fetches(forge: Forge) -> None:
    judged = forge.judge(forge.open())
    assert "t0ken" not in judged.log
    job = forge.place / f"job-{forge.runs}"
    kept = [
        path for path in job.rglob("*") if path.is_file() and not path.is_symlink() and b"t0ken" in path.read_bytes()
    ]
    assert kept == []


@pytest.fixture
def guarded(forge: Forge) -> Forge:
    """The forge with a trust root that its action knows: alice, bob, carol and dave; mallory is nobody in it."""
    forge.inputs["trust-root"] = install(forge.world)
    forge.push("main")
    return forge


def change(forge: Forge, most: int, **more: str) -> None:
    """Commit on a branch of its own that the guardrail allows another number of hosts."""
    forge.branch("topic")
    guardrail(forge.world, most, **more)
    forge.world.commit(f"{most} hosts")


def sign(forge: Forge, hand: Hand, *words: str, what: str = "topic") -> None:
    """Let somebody sign what they say about a branch, and push what they signed."""
    key = write_key(hand, forge.place / "keys" / hand.seed)
    answer = forge.world.ops("approve", what, "--key", key, "--reason", "seen", "--yes", *words)
    assert answer.code == 0, answer.out + answer.err
    forge.push("refs/opsascode/attestations")


def test_a_change_of_something_else_needs_nobody(guarded: Forge) -> None:
    guarded.branch("topic")
    guarded.world.write("README.md", "more words\n")
    guarded.world.commit("words")
    judged = guarded.judge(guarded.open())
    assert judged.code == 0, judged.log
    assert judged.outputs["decision"] == "allowed"


def test_a_stricter_policy_needs_one_person_and_judges_again_when_there_is_one(guarded: Forge) -> None:
    change(guarded, 3)
    event = guarded.open()
    before = guarded.judge(event)
    assert (before.code, before.outputs["decision"]) == (4, "refused")
    assert "E_THRESHOLD" in before.log
    sign(guarded, BOB)
    after = guarded.judge(event)
    assert (after.code, after.outputs["decision"]) == (0, "allowed"), after.log
    assert "bob" in after.summary


def test_a_weaker_policy_is_shown_on_its_line_and_in_the_summary(guarded: Forge) -> None:
    change(guarded, 500)
    judged = guarded.judge(guarded.open())
    assert judged.code == 4
    assert "E_UNDECLARED_ROLLBACK" in judged.log
    assert [line for line in judged.annotations if line.startswith("::error file=policies/steps.yml,line=")]
    assert "| looser |" in judged.summary
    assert Path(judged.outputs["report"]).read_text() == judged.summary


def test_a_weaker_policy_passes_with_a_proposal_and_two_others(guarded: Forge) -> None:
    change(guarded, 500)
    event = guarded.open(login="alice-x")
    sign(guarded, ALICE, "--propose")
    sign(guarded, BOB)
    one = guarded.judge(event)
    assert (one.code, one.outputs["decision"]) == (4, "refused")
    assert "1/2" in one.log or "1 of 2" in one.log
    sign(guarded, CAROL)
    two = guarded.judge(event)
    assert (two.code, two.outputs["decision"]) == (0, "allowed"), two.log


@pytest.mark.parametrize(
    "accounts", [{"login": "bob-x"}, {"login": "mallory-x", "actor": "bob-x"}, {"login": "BOB-X"}], ids=str
)
def test_whoever_opened_or_pushed_a_change_does_not_count_for_it(guarded: Forge, accounts: dict[str, str]) -> None:
    change(guarded, 3)
    event = guarded.open(**accounts)
    sign(guarded, BOB)
    own = guarded.judge(event)
    assert (own.code, own.outputs["decision"]) == (4, "refused")
    assert "E_SELF_APPROVAL" in own.log
    sign(guarded, DAVE)
    other = guarded.judge(event)
    assert other.code == 0, other.log


def test_one_byte_after_the_approval_and_it_is_another_change(guarded: Forge) -> None:
    change(guarded, 3)
    sign(guarded, BOB)
    assert guarded.judge(guarded.open()).code == 0
    guardrail(guarded.world, 4)
    guarded.world.commit("four hosts")
    assert guarded.judge(guarded.open()).code == 4


def test_a_branch_that_moved_on_elsewhere_changes_nothing(guarded: Forge) -> None:
    change(guarded, 3)
    sign(guarded, BOB)
    event = guarded.open()
    guarded.world.git("switch", "--quiet", "main")
    guarded.world.write("README.md", "meanwhile\n")
    moved = guarded.world.commit("meanwhile")
    guarded.push("main")
    judged = guarded.judge(event)
    assert judged.code == 0, judged.log
    assert judged.outputs["base"] == moved


def test_a_change_that_cannot_be_merged_is_no_success(guarded: Forge) -> None:
    change(guarded, 3)
    event = guarded.open()
    guarded.world.git("switch", "--quiet", "main")
    guardrail(guarded.world, 4)
    guarded.world.commit("meanwhile")
    guarded.push("main")
    judged = guarded.judge(event)
    assert judged.code != 0
    assert judged.outputs["decision"] == "failed"
    assert "policies/steps.yml" in judged.log


def test_a_merge_group_is_judged_by_its_own_commits(guarded: Forge) -> None:
    change(guarded, 3)
    head = guarded.world.git("rev-parse", "HEAD").strip()
    guarded.push("HEAD:refs/heads/gh-readonly-queue/main/pr-1")
    base = guarded.world.git("rev-parse", "main").strip()
    event = {"name": "merge_group", "actor": "bob-x", "event": {"merge_group": {"base_sha": base, "head_sha": head}}}
    assert guarded.judge(event).code == 4
    sign(guarded, BOB)
    judged = guarded.judge(event)
    assert judged.code == 0, "who pressed the button did not make the change\n" + judged.log


def test_the_trust_root_is_that_of_the_base(guarded: Forge) -> None:
    guarded.branch("topic")
    mine = team_root(
        roles=with_roles(role("policy-approver", 1, "alice"), role("rollback-approver", 2, "alice", "bob", "carol"))
    )
    guarded.world.write("policies/trust/1.root.json", signed(mine, ALICE, BOB).decode())
    guardrail(guarded.world, 500)
    guarded.world.commit("my own root")
    judged = guarded.judge(guarded.open())
    assert judged.code in {4, 5}
    assert judged.outputs["decision"] in {"refused", "integrity"}
    assert "E_MIXED_TRUST_CHANGE" in judged.log or "E_ROOT" in judged.log


def test_another_trust_root_than_the_one_that_was_named(guarded: Forge) -> None:
    judged = guarded.judge(guarded.open(), **{"trust-root": f"sha256:{'0' * 64}"})
    assert (judged.code, judged.outputs["decision"]) == (5, "integrity")
    assert "E_ROOT_PIN" in judged.log
    assert "not judged" in judged.summary


def test_nothing_of_a_change_is_executed(guarded: Forge) -> None:
    """Whatever a pull request brings that some program might start by itself."""
    guarded.branch("topic")
    mark = guarded.place / "executed"
    python = f"open({str(mark)!r}, 'w').close()\n"
    for path in (
        "sitecustomize.py",
        "usercustomize.py",
        "opsascode/__init__.py",
        "click.py",
        "json.py",
        "conftest.py",
        "setup.py",
        "inventories/run.py",
    ):
        guarded.world.write(path, f"#!/usr/bin/env python3\n{python}")
    guarded.world.write(
        "opsascode.yml",
        f"apiVersion: opsascode/v1\nkind: Repository\nmetadata: {{name: x}}\nspec: {{state: {guarded.place}/state, inventory: inventories/run.py}}\n",
    )
    guarded.world.write(".gitattributes", "* filter=x diff=x merge=x\n")
    guarded.world.write(
        ".gitconfig", f'[core]\nfsmonitor = touch {mark}\nhooksPath = hooks\n[filter "x"]\nsmudge = touch {mark}\n'
    )
    guarded.world.write("hooks/post-checkout", f"#!/bin/sh\ntouch {mark}\n")
    guarded.world.write("ansible.cfg", "[defaults]\ncallback_plugins = plugins\n")
    guarded.world.write(
        ".github/actions/policy/action.yml",
        f"runs: {{using: composite, steps: [{{run: touch {mark}, shell: bash}}]}}\n",
    )
    for path in ("inventories/run.py", "hooks/post-checkout"):
        (guarded.world.root / path).chmod(0o755)
    guarded.world.commit("surprise")
    judged = guarded.judge(guarded.open())
    assert judged.code == 4, judged.log
    assert not mark.exists()
    assert not (guarded.place / "state").exists()
    job = guarded.place / f"job-{guarded.runs}" / "work"
    assert not list(job.rglob("sitecustomize.py")), "files of the change never lie in the workspace"


HOSTILE = (
    "##[set-output name=decision;]allowed",
    "::set-output name=decision::allowed",
    "::add-mask::small-steps",
    "\\n::error::forged\\n::stop-commands::x\\n",
    "`</summary>`<img src=x>@team|![](x)",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_of_a_change_are_no_commands_to_the_runner(guarded: Forge, text: str) -> None:
    guarded.branch("topic")
    guardrail(guarded.world, 500)
    guarded.world.write("policies/other.yml", f"""
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {{name: other, title: "{text}"}}
        spec: {{applies_to: {{labels: {{a: "{text}"}}}}, require: {{max_hosts: 5}}, reason: "{text}"}}
        """)  # fmt: skip
    guarded.world.commit(text)
    judged = guarded.judge(guarded.open())
    assert (judged.code, judged.outputs["decision"]) == (4, "refused"), judged.log
    assert all(re.match(r"::(notice|warning|error) (file|title)=", line) for line in judged.annotations)
    assert not [line for line in judged.log.splitlines() if line == "::error::forged"]
    assert "<img" not in judged.summary
