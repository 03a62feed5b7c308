"""A change that loosens a guardrail is told, on its pull request, which past runs it would have let through.

Runs and refusals are real, made by the installed command; so are Git, the team's ledger and the action's steps, which a
small runner gives to bash. The API of the forge is played by a server of ours that keeps comments.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.proof import MachineRole, PublicKey, TrustedMachine
from tests.acceptance.test_github_action import PROJECT, Forge, Runner, made_forge, wheel  # noqa: F401 - a fixture
from tests.trust import ROLES, install, team_root
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.test_github_action import Judged

SIMULATE = PROJECT / ".github" / "actions" / "simulate" / "action.yml"
BOT = "github-actions[bot]"
MARK = "<!-- opsascode policy simulate -->"
STEPS = """
- id: hello
  task: {ansible.builtin.debug: {msg: hello}}
"""
SETTINGS = """
apiVersion: opsascode/v1
kind: Repository
metadata: {{name: test-repository}}
spec:
  inventory: inventories/local.yml
  locks: {locks}
  ledger: {{remote: origin}}
"""


def guardrail(world: World, most: int, *, reason: str = "Mistakes stay small.") -> None:
    world.write("policies/steps.yml", f"""
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {{name: small-steps}}
        spec:
          require: {{max_hosts: {most}}}
          reason: {json.dumps(reason)}
        """)  # fmt: skip


def refused(world: World, *words: str) -> None:
    """Have a run refused."""
    answer = world.ops("run", "hello", "-y", *words)
    assert answer.code == 4, answer.out + answer.err


def allowed(world: World, *words: str) -> str:
    answer = world.ops("run", "hello", "-y", "--format", "json", *words)
    assert answer.code == 0, answer.out + answer.err
    return str(answer.lines[-1]["run"])


def loosened(world: World, most: int, branch: str = "looser", **more: str) -> str:
    world.git("switch", "--quiet", "--force-create", branch, "main")
    guardrail(world, most, **more)
    commit = world.commit(f"{most} hosts")
    world.git("switch", "--quiet", "main")
    return commit


def simulated(world: World, *words: str) -> Any:
    answer = world.ops("policy", "simulate", "--format", "json", *words)
    assert answer.code == 0, answer.err
    return answer.json


# On one machine.


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One refused run on four hosts, three on three of them, and runs on two and on one."""
    found = new_world(tmp_path_factory.mktemp("simulate") / "home")
    found.runbook("hello", STEPS, targets="{hosts: all}")
    guardrail(found, 2)
    found.commit("two hosts at most")
    refused(found)
    for limit in ("web", "web1:web2:db1", "!web1"):
        refused(found, "--limit", limit)
    allowed(found, "--limit", "web1:web2")
    allowed(found, "--limit", "db1")
    return found


def test_a_looser_guardrail_names_exactly_the_three_it_would_have_let_through(world: World) -> None:
    loosened(world, 3)
    told = simulated(world, "--pack", "commit:looser")
    assert told["records"] == {"run": 2, "refusal": 4}
    assert told["replayed"] == 6
    assert [(each["change"], each["about"], each["where"].partition(" ")[0]) for each in told["differences"]] == [
        ("newly allowed", "hello", "3")
    ] * 3
    assert len({each["id"] for each in told["differences"]}) == 3
    for each in told["differences"]:
        (cause,) = each["rules"]
        assert cause["source"] == "guardrail small-steps"
        assert cause["position"].startswith("policies/steps.yml:")
        assert cause["gone"] is True


def test_people_see_counts_first_and_each_record_with_its_rule(world: World) -> None:
    loosened(world, 3)
    answer = world.ops("policy", "simulate", "--pack", "commit:looser")
    assert answer.code == 0, answer.err
    ids = [each["id"] for each in simulated(world, "--pack", "commit:looser")["differences"]]
    lines = answer.out.splitlines()
    assert lines.index("newly allowed  3") < min(
        answer.out.splitlines().index(line) for line in lines if ids[0] in line
    )
    assert all(one in answer.out for one in ids)
    assert "no longer guardrail small-steps" in answer.out
    assert "each record judged by both at its own time" in answer.out


def test_a_stricter_guardrail_names_the_run_that_would_not_have_been(world: World) -> None:
    loosened(world, 1, branch="stricter")
    told = simulated(world, "--pack", "commit:stricter")
    assert [(each["change"], each["kind"]) for each in told["differences"]] == [("newly denied", "run")]


def test_the_work_tree_and_the_directory_of_another_repository_are_candidates(world: World, tmp_path: Path) -> None:
    assert simulated(world, "--pack", "tree")["differences"] == []
    other = World(home=tmp_path)
    other.root.mkdir()
    guardrail(other, 3)
    assert len(simulated(world, "--pack", str(other.root))["differences"]) == 3
    guardrail(world, 3)
    try:
        assert len(simulated(world)["differences"]) == 3, (
            "the work tree is what is simulated, unless somebody says else"
        )
    finally:
        guardrail(world, 2)


def test_what_is_in_force_against_what_was_decided(world: World) -> None:
    told = simulated(world, "--pack", "current")
    assert told["differences"] == []
    assert told["decided_otherwise_then"] == []


def test_exit_codes_for_a_pipeline(world: World) -> None:
    loosened(world, 3)
    words = ("policy", "simulate", "--pack", "commit:looser")
    assert world.ops(*words).code == 0, "a difference is information"
    assert world.ops(*words, "--fail-on", "newly-allowed").code == 1
    assert world.ops(*words, "--fail-on", "newly-denied").code == 0
    assert world.ops(*words, "--fail-on", "any").code == 1


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--pack", "commit:nothing"), 2, "there is no policy pack"),
    (("--since", "yesterday"), 2, "is no time"),
    (("--base", "nothing"), 2, "there is no commit"),
    (("--markdown", "--format", "json"), 2, "exclude each other"),
    (("--pack", "/usr"), 2, "there are no policies in the directory /usr"),
    (("--root", "sha256:abc"), 5, ""),
], ids=str)  # fmt: skip
def test_words_it_cannot_use_are_one_sentence(world: World, words: tuple[str, ...], code: int, said: str) -> None:
    answer = world.ops("policy", "simulate", *words)
    assert answer.code == code, answer.out + answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_candidate_that_cannot_be_used_is_no_simulation(world: World) -> None:
    world.git("switch", "--quiet", "--force-create", "broken", "main")
    world.write(
        "policies/steps.yml", "apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {name: x}\nspec: {nothing: 1}\n"
    )
    world.commit("broken")
    world.git("switch", "--quiet", "main")
    answer = world.ops("policy", "simulate", "--pack", "commit:broken")
    assert answer.code == 3
    assert "policies/steps.yml" in answer.err


# On the forge.


@dataclass(kw_only=True)
class Comments:
    """The comments of a forge's pull requests, as its API gives them."""

    listed: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    writable: bool = True
    broken: bool = False

    def add(self, body: str, login: str = BOT, number: int = 1) -> dict[str, Any]:
        made = {"id": 1000 + len(self.listed), "body": body, "user": {"login": login}, "issue": number}
        self.listed.append(made)
        return made

    def of(self, login: str = BOT) -> list[str]:
        return [each["body"] for each in self.listed if each["user"]["login"] == login]


@dataclass(kw_only=True)
class Api:
    """The server that plays the forge's API."""

    comments: Comments
    url: str


@pytest.fixture
def api() -> Iterator[Api]:
    comments = Comments()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def answer(self, status: int, body: Any) -> None:
            data = b"<html>" if comments.broken else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def sent(self) -> str:
            comments.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return str(json.loads(content)["body"]) if content else ""

        def do_GET(self) -> None:
            self.sent()
            found = re.fullmatch(r"/repos/acme/ops/issues/(\d+)/comments\?per_page=100&page=(\d+)", self.path)
            assert found, self.path
            mine = [each for each in comments.listed if each["issue"] == int(found[1])]
            page = int(found[2])
            self.answer(200, mine[100 * (page - 1) : 100 * page])

        def do_POST(self) -> None:
            body = self.sent()
            assert self.path == "/repos/acme/ops/issues/1/comments"
            if not comments.writable:
                self.answer(403, {"message": "Resource not accessible by integration"})
                return
            self.answer(201, comments.add(body))

        def do_PATCH(self) -> None:
            body = self.sent()
            wanted = int(self.path.removeprefix("/repos/acme/ops/issues/comments/"))
            (found,) = [each for each in comments.listed if each["id"] == wanted]
            found["body"] = body
            self.answer(200, found)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Api(comments=comments, url=f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(kw_only=True)
class Shared:
    """A forge whose team has a ledger there, with three refusals and two runs in it."""

    forge: Forge
    digest: str

    @property
    def world(self) -> World:
        return self.forge.world

    def request(self) -> dict[str, Any]:
        """Open what is checked out as a pull request, and go back."""
        event = self.forge.open()
        self.world.git("switch", "--quiet", "main")
        return event

    def act(self, event: dict[str, Any], api: Api, **inputs: str) -> Judged:
        self.forge.runs += 1
        runner = Runner(
            forge=self.forge, home=self.forge.place / f"job-{self.forge.runs}", event=event, action=SIMULATE,
            inputs={"trust-root": self.digest, "package": str(self.forge.wheel), **inputs},
            more={"GITHUB_API_URL": api.url, "GITHUB_REPOSITORY": "acme/ops"},
        )  # fmt: skip
        return runner.run()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Shared:  # noqa: F811 - the fixture of that name
    """A forge with a trust root, an applied pack, and a ledger that a machine of the team signed."""
    forge = made_forge(tmp_path_factory.mktemp("forge"), wheel)
    world = forge.world
    world.public_key.parent.mkdir(mode=0o700, parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.public_key.with_suffix("")], check=True)
    machine = TrustedMachine(
        name="one", key=PublicKey.from_openssh(world.public_key.read_text()),
        roles=(MachineRole.RUNNER, MachineRole.LEDGER),
    )  # fmt: skip
    world.write("opsascode.yml", SETTINGS.format(locks=forge.place / "locks"))
    world.runbook("hello", STEPS, targets="{hosts: all}")
    guardrail(world, 2)
    roles = tuple(each for each in ROLES if each.name != "policy-approver")
    digest = install(world, team_root(machines=(machine,), roles=roles))
    world.git("remote", "add", "origin", str(forge.bare))
    world.git("push", "--quiet", "origin", "main")
    assert world.ops("policy", "apply").code == 0
    for limit in ("web", "web1:web2:db1", "!web1"):
        refused(world, "--limit", limit)
    allowed(world, "--limit", "web1")
    synced = world.ops("ledger", "sync")
    assert synced.code == 0, synced.err
    return Shared(forge=forge, digest=digest)


def three(shared: Shared) -> list[str]:
    loosened(shared.world, 3, branch="count")
    return [each["id"] for each in simulated(shared.world, "--pack", "commit:count")["differences"]]


def test_the_comment_names_the_three_past_runs_that_a_looser_guardrail_would_have_let_through(
    recorded: Shared, api: Api
) -> None:
    expected = three(recorded)
    assert len(expected) == 3
    recorded.forge.branch("looser-1")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    event = recorded.request()
    judged = recorded.act(event, api)
    assert judged.code == 0, judged.log
    assert (judged.outputs["comment"], judged.outputs["differences"]) == ("created", "3")
    (body,) = api.comments.of()
    assert body.startswith(f"{MARK}\n## What these policies would have decided")
    assert re.findall(r"\| newly allowed \| refusal `([^`]+)` \|", body) == expected
    assert body.count("no longer guardrail small-steps") == 3
    assert "policies/steps.yml:" in body
    assert judged.summary == body.removeprefix(f"{MARK}\n")


def test_the_next_push_changes_the_same_comment(recorded: Shared, api: Api) -> None:
    for most, text in ((3, "| **newly allowed** | 3 |"), (2, "Nothing would be decided otherwise.")):
        recorded.world.git("switch", "--quiet", "--force-create", "looser-2", "main")
        guardrail(recorded.world, most)
        recorded.world.commit(f"{most} hosts")
        judged = recorded.act(recorded.request(), api)
        assert judged.code == 0, judged.log
        (body,) = api.comments.of()
        assert text in body
    assert judged.outputs["comment"] == "updated"
    assert [method for method, _, _ in api.comments.asked] == ["GET", "POST", "GET", "PATCH"]


def test_a_change_that_makes_no_difference_is_not_commented_on(recorded: Shared, api: Api) -> None:
    recorded.forge.branch("words")
    recorded.world.write("README.md", "more words\n")
    recorded.world.commit("words")
    judged = recorded.act(recorded.request(), api)
    assert (judged.code, judged.outputs["comment"]) == (0, "unneeded"), judged.log
    assert api.comments.listed == []
    assert "Nothing would be decided otherwise" in judged.summary


def test_a_token_that_may_not_write_leaves_the_summary_alone(recorded: Shared, api: Api) -> None:
    api.comments.writable = False
    recorded.forge.branch("from-a-fork")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api)
    assert (judged.code, judged.outputs["comment"]) == (0, "refused"), judged.log
    assert "| **newly allowed** | 3 |" in judged.summary


def test_the_marker_in_somebody_elses_comment_is_not_ours_and_ours_is_found_on_a_later_page(
    recorded: Shared, api: Api
) -> None:
    for number in range(130):
        api.comments.add(f"{MARK}\nnumber {number}", login="mallory-x")
    api.comments.add(f"{MARK}\nold")
    api.comments.add(f"{MARK}\nof another request", number=2)
    recorded.forge.branch("many-words")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api)
    assert (judged.code, judged.outputs["comment"]) == (0, "updated"), judged.log
    ours, elsewhere = api.comments.of()
    assert "| **newly allowed** | 3 |" in ours
    assert elsewhere.endswith("of another request")
    assert all(body.startswith(f"{MARK}\nnumber ") for body in api.comments.of("mallory-x"))


def test_an_api_that_answers_with_something_else_is_no_failure(recorded: Shared, api: Api) -> None:
    api.comments.broken = True
    recorded.forge.branch("strange")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api)
    assert (judged.code, judged.outputs["comment"]) == (0, "refused"), judged.log


HOSTILE = (
    "::error::forged ##[set-output name=differences;]0",
    "</td></table><img src=x onerror=alert(1)> @team #7 [a](http://evil.invalid) ![](http://evil.invalid/x.png)",
    "`| a | b |` <!-- opsascode policy simulate --> www.evil.invalid ${{ github.token }} $(touch x)",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_words_of_a_change_are_data_in_the_comment(recorded: Shared, api: Api, text: str) -> None:
    recorded.forge.branch(f"hostile-{HOSTILE.index(text)}")
    guardrail(recorded.world, 0 + 1, reason=text)
    recorded.world.runbook("other", STEPS)
    recorded.world.write("policies/more.yml", f"""
        apiVersion: opsascode/v1
        kind: Guardrail
        metadata: {{name: other}}
        spec: {{applies_to: {{runbooks: [hello]}}, require: {{clean_tree: true, triggers: [alert]}}, reason: {json.dumps(text)}}}
        """)  # fmt: skip
    recorded.world.commit("surprise")
    judged = recorded.act(recorded.request(), api)
    assert judged.code == 0, judged.log
    assert judged.outputs["differences"] == "1"
    (body,) = api.comments.of()
    told = body.removeprefix(MARK)
    assert "<!--" not in told
    assert not re.search(r"<(?!br>)", told)
    assert not re.search(r"@\w|#\d|(?<!\\)\]\(|://|www\.", told)
    assert [line for line in judged.annotations if not re.match(r"::(notice|warning|error) title=", line)] == []
    rows = [line for line in told.splitlines() if line.startswith("| newly")]
    assert len({re.sub(r"\\\|", "", row).count("|") for row in rows}) == 1


def test_nothing_can_be_replayed_without_a_trust_root_that_is_named(recorded: Shared, api: Api) -> None:
    recorded.forge.branch("unnamed")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api, **{"trust-root": ""})
    assert (judged.code, judged.outputs["comment"]) == (0, "unneeded"), judged.log
    assert "no trust root is believed in here" in judged.summary


def test_a_ledger_that_somebody_else_wrote_is_not_believed(recorded: Shared, api: Api) -> None:
    recorded.forge.branch("another-root")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api, **{"trust-root": f"sha256:{'0' * 64}"})
    assert judged.code == 5
    assert "E_ROOT_PIN" in judged.summary
    assert api.comments.of()[0].startswith(f"{MARK}\n## The policies of this change were not simulated")


def test_a_candidate_that_cannot_be_used_is_said_and_fails(recorded: Shared, api: Api) -> None:
    recorded.forge.branch("broken")
    recorded.world.write("policies/steps.yml", "kind: '<img src=x> @team'\n")
    recorded.world.commit("broken")
    judged = recorded.act(recorded.request(), api)
    assert judged.code == 3
    assert judged.failed_at == "End as the simulation did"
    (body,) = api.comments.of()
    assert all(line.startswith("    ") for line in body.splitlines()[3:] if line.strip())


def test_the_token_is_only_in_the_environment_and_in_the_header(recorded: Shared, api: Api) -> None:
    recorded.forge.branch("secret")
    guardrail(recorded.world, 3)
    recorded.world.commit("three hosts")
    judged = recorded.act(recorded.request(), api)
    assert "t0ken" not in judged.log
    assert {authorization for _, _, authorization in api.comments.asked} == {"Bearer t0ken"}
    job = recorded.forge.place / f"job-{recorded.forge.runs}"
    kept = [
        each for each in job.rglob("*") if each.is_file() and not each.is_symlink() and b"t0ken" in each.read_bytes()
    ]
    assert kept == []


# What a reviewer must not take for an answer.


def test_a_candidate_that_is_what_it_is_compared_with_is_said(tmp_path: Path) -> None:
    world = new_world(tmp_path / "home")
    guardrail(world, 2)
    world.commit("two")
    alone, based = world.ops("policy", "simulate"), world.ops("policy", "simulate", "--base", "HEAD")
    assert "both hold the same policies; --base names the branch" in alone.out
    assert "both hold the same policies\n" in based.out
    guardrail(world, 3)
    assert "the same policies" not in world.ops("policy", "simulate").out
    assert "the same policies" not in world.ops("policy", "simulate", "--pack", "current").out


@pytest.mark.parametrize("words", [(), ("--markdown",), ("--pack", "current")])
def test_where_nothing_was_replayed_no_change_is_called_harmless(tmp_path: Path, words: tuple[str, ...]) -> None:
    answer = new_world(tmp_path / "home").ops("policy", "simulate", *words)
    assert answer.code == 0, answer.err
    assert "Nothing was replayed, which says nothing about these policies." in answer.out
    assert "decided otherwise" not in answer.out


def test_policies_that_cannot_be_used_are_said_to_be_those_of_the_commit(tmp_path: Path) -> None:
    world = new_world(tmp_path / "home")
    world.write("policies/steps.yml", "kind: x\n")
    world.commit("broken")
    guardrail(world, 2)
    answer = world.ops("policy", "simulate")
    assert answer.code == 3
    assert "policies/steps.yml:1:7: what is committed, commit " in answer.err


NEEDS_COMMITS = (
    "policy list",
    "policy show",
    "policy diff --from version:1",
    "policy simulate",
    "policy simulate --pack current",
    "policy simulate --base main --pack commit:HEAD",
    f"policy simulate --root sha256:{'0' * 64}",
    "policy verify --base main",
    f"policy verify --root sha256:{'0' * 64}",
)


@pytest.mark.parametrize("words", NEEDS_COMMITS)
def test_before_the_first_commit_the_mend_is_to_commit(tmp_path: Path, words: str) -> None:
    world = World(home=tmp_path)
    world.root.mkdir()
    world.git("init", "--quiet", "--initial-branch", "main")
    guardrail(world, 2)
    answer = world.ops(*words.split())
    assert answer.code == 2, answer.err
    assert answer.err.startswith(f"error: nothing is committed in {world.root}, ")
    assert answer.err.endswith("\n  git add --all && git commit\n")


def test_each_other_lack_of_a_commit_has_its_own_mend(tmp_path: Path) -> None:
    world = new_world(tmp_path / "home")
    assert "no commit 'nowhere' in this clone\n  git fetch" in world.ops("policy", "simulate", "--base", "nowhere").err
    world.git("switch", "--quiet", "--orphan", "fresh")
    assert "without a commit\n  git switch" in world.ops("policy", "simulate").err
    assert world.ops("policy", "simulate", "--base", "main").code == 0
    assert world.ops("status", "--drift").code == 0


def test_without_any_trust_root_applying_a_pack_says_to_make_one(tmp_path: Path) -> None:
    answer = new_world(tmp_path / "home").ops("policy", "apply")
    assert answer.code == 4
    assert "no trust root is committed in policies/trust" in answer.err
    assert "opsascode trust init" in answer.err


# Gates.

SERVICE = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  slo_targets: {availability: 99.9%}
  escalation_chain: [{notify: 'team:sre', after: 5m}]
  gate: {no_data: {grace: 1h, then: block}}
"""


def test_a_verdict_of_a_gate_is_asked_for_again(tmp_path: Path) -> None:
    world = new_world(tmp_path / "home")
    settings = (world.root / "opsascode.yml").read_text()
    world.write("opsascode.yml", settings.replace("spec: {", "spec: {prometheus: {url: 'http://127.0.0.1:9'}, "))
    world.write("policies/shop.yml", SERVICE.lstrip("\n"))
    world.commit("a gate that fails closed")
    blocked = world.ops("slo", "gate", "--service", "shop", "--change-class", "deploy", "--format", "json")
    assert blocked.code == 4, blocked.out + blocked.err
    world.write("policies/shop.yml", SERVICE.lstrip("\n").replace("then: block", "then: pass"))
    told = simulated(world)
    assert told["records"]["gate verdict"] == 1
    (found,) = told["differences"]
    assert (found["change"], found["before"], found["after"]) == ("gate verdict looser", "block", "pass")
    assert (found["about"], found["where"]) == ("shop", "deploy")
    assert found["rules"][0]["source"] == "reliability policy shop"
    assert found["id"] in blocked.out
