"""`opsascode init`: a newcomer's first minutes, and that nothing of theirs is ever written over."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from opsascode import __version__
from opsascode.repo import editor_schemas, new_repository, place
from tests.acceptance.test_packaging import call, contents, fresh, sdist, wheel  # noqa: F401 - fixtures, found by name
from tests.world import COMMAND, Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT = Path(__file__).parents[2]
SCHEMAS = sorted(f"schemas/{path.name}" for path in (PROJECT / "schemas").glob("*.json"))
WRITTEN = {
    ".editorconfig",
    ".gitattributes",
    ".github/CODEOWNERS",
    ".github/actions/policy/action.yml",
    ".github/actions/simulate/action.yml",
    ".github/workflows/ops.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".vscode/extensions.json",
    ".vscode/settings.json",
    "README.md",
    "docs/people.md",
    "docs/protect-this-repository.md",
    "inventories/local/hosts.yml",
    "opsascode.yml",
    "playbooks/hello.yml",
    "policies/calendars.yml",
    "policies/pack.yml",
    "policies/reliability.yml",
    "policies/severity.yml",
    "policies/small-steps.yml",
    "schemas/policy.schema.json",
    *SCHEMAS,
}


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """Somebody with an empty home, who may have told Git their name."""

    home: Path

    @property
    def ops(self) -> Path:
        return self.home / "my-ops"

    def knows_git(self, *more: str) -> None:
        lines = ("[user]", "name = Alex Example", "email = alex@example.org", *more)
        (self.home / ".gitconfig").write_text("\n".join(lines) + "\n")

    def types(self, *words: str | Path, at: Path | None = None, **variables: str) -> Answer:
        environment = {"PATH": os.defpath, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **variables}
        done = subprocess.run(
            [COMMAND, *words],
            cwd=at or self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def git(self, *words: str) -> str:
        environment = {"PATH": os.defpath, "HOME": str(self.home)}
        return subprocess.run(
            ["git", *words], cwd=self.ops, env=environment, check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    person = Newcomer(home=tmp_path)
    person.knows_git()
    return person


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that tests only read."""
    person = Newcomer(home=tmp_path_factory.mktemp("made"))
    person.knows_git()
    assert person.types("init", "my-ops").code == 0
    return person.ops


def everything(root: Path) -> dict[str, bytes | None]:
    """Every file, link and directory below a root, but for Git's own."""
    found = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in found
    }


def files(root: Path) -> set[str]:
    return {path for path, content in everything(root).items() if content is not None}


def test_the_first_minutes_with_nothing_but_the_wheel(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    programs: Path = request.getfixturevalue("fresh")
    home = tmp_path / "home"
    home.mkdir()
    Newcomer(home=home).knows_git()
    done = call(programs / "opsascode", "init", "my-ops", cwd=home, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    ops = home / "my-ops"
    typed = [line.split("  #")[0].strip() for line in done.stdout.partition("next:\n")[2].splitlines()]
    typed = [line for line in typed if line.startswith("opsascode ")]
    assert [line.split()[1] for line in typed] == ["check", "plan", "run", "verify", "runs"]
    for line in typed:
        words = [*line.split()[1:], *(["--yes"] if "run" in line.split()[1] else [])]
        answer = call(programs / "opsascode", *words, cwd=ops, home=home)
        assert answer.returncode == 0, line + answer.stdout + answer.stderr
        greetings = {path.name: path.read_text() for path in home.glob("opsascode-hello-*")}
        if words[0] == "run":
            assert greetings["opsascode-hello-lab1.txt"] == "Hello, world! This is lab1.\n"
            assert len(greetings) == 2
    assert greetings == {}, "the undo took them away"
    status = call("/usr/bin/git", "status", "--short", cwd=ops, home=home)
    assert status.stdout == "", "runs leave nothing in the work tree"


def test_the_wheel_and_the_sdist_carry_every_template(request: pytest.FixtureRequest) -> None:
    templates = {path for path in (PROJECT / "opsascode" / "scaffold").rglob("*") if path.is_file()}
    assert {path.relative_to(PROJECT).as_posix() for path in templates} <= contents(request.getfixturevalue("wheel"))


def test_a_new_repository_holds_what_was_promised_and_no_problem(newcomer: Newcomer) -> None:
    answer = newcomer.types("init", "my-ops")
    assert answer.code == 0, answer.err
    assert files(newcomer.ops) == WRITTEN
    assert newcomer.git("status", "--short", "--branch") == "## main\n"
    assert newcomer.git("log", "--format=%an <%ae> %s") == "Alex Example <alex@example.org> Begin an ops repository\n"
    checked = newcomer.types("check", at=newcomer.ops)
    assert checked.code == 0
    assert checked.out.endswith("no problems\n")


def test_it_takes_its_name_from_the_directory_or_from_the_person(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "Ops of ACME!").code == 0
    assert 'name: "ops-of-acme"\n' in (newcomer.home / "Ops of ACME!" / "opsascode.yml").read_text()
    assert newcomer.types("init", "other", "--name", "payments").code == 0
    assert 'name: "payments"\n' in (newcomer.home / "other" / "opsascode.yml").read_text()


@pytest.mark.parametrize("name", ["true", "123", "1.5", "null", "a" * 63])
def test_every_name_that_is_taken_gives_documents_without_a_problem(newcomer: Newcomer, name: str) -> None:
    assert newcomer.types("init", "my-ops", "--name", name).code == 0
    assert newcomer.types("check", at=newcomer.ops).code == 0


@pytest.mark.parametrize("words", [
    ("my-ops", "--name", "My Ops"), ("my-ops", "--name", "a\nkind: Runbook"), ("...",), ("my-ops", "--owner", "sre"),
    ("my-ops", "--owner", "@a\n* @mallory"), ("my-ops", "--owner", "@a @b"),
], ids=repr)  # fmt: skip
def test_words_that_cannot_stand_in_a_file_write_nothing(newcomer: Newcomer, words: Sequence[str]) -> None:
    before = everything(newcomer.home)
    answer = newcomer.types("init", *words)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert everything(newcomer.home) == before


def test_owners_are_asked_on_every_protected_path(newcomer: Newcomer) -> None:
    answer = newcomer.types("init", "my-ops", "--owner", "@acme/sre", "--owner", "alice@example.org")
    lines = (newcomer.ops / ".github" / "CODEOWNERS").read_text().splitlines()
    owned = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")}
    assert set(owned) >= {"*", "/.github/", "/policies/", "/policies/trust/", "/inventories/", "/opsascode.yml"}
    assert set(map(tuple, owned.values())) == {("@acme/sre", "alice@example.org")}
    assert "CODEOWNERS" not in answer.out, "nothing is left to fill in"


def test_whoever_names_no_owner_is_told_to(newcomer: Newcomer) -> None:
    assert "@your-organisation/sre in .github/CODEOWNERS" in newcomer.types("init", "my-ops").out


@pytest.mark.parametrize("existing", [
    {"README.md": "mine"}, {"opsascode.yml": "", "playbooks/hello.yml": "mine"}, {"schemas": "a file, no directory"},
    dict.fromkeys(WRITTEN, "mine"),
], ids=lambda existing: f"{len(existing)} files")  # fmt: skip
def test_nothing_is_written_over_and_everything_in_the_way_is_named_at_once(
    newcomer: Newcomer, existing: dict[str, str]
) -> None:
    for path, content in existing.items():
        (newcomer.ops / path).parent.mkdir(parents=True, exist_ok=True)
        (newcomer.ops / path).write_text(content)
    before = everything(newcomer.home)
    answer = newcomer.types("init", "my-ops")
    assert answer.code == 2
    assert all(path in answer.err for path in existing)
    assert "nothing was written" in answer.err
    assert everything(newcomer.home) == before
    assert not (newcomer.ops / ".git").exists()


def test_nothing_is_written_through_a_link_that_leads_elsewhere(newcomer: Newcomer) -> None:
    elsewhere = newcomer.home / "elsewhere"
    elsewhere.mkdir()
    newcomer.ops.mkdir()
    (newcomer.ops / "policies").symlink_to(elsewhere)
    (newcomer.ops / "README.md").symlink_to("nowhere")
    answer = newcomer.types("init", "my-ops")
    assert answer.code == 2
    assert "README.md" in answer.err
    assert "policies/small-steps.yml" in answer.err
    assert set(everything(newcomer.home)) == {
        ".gitconfig",
        "elsewhere",
        "my-ops",
        "my-ops/policies",
        "my-ops/README.md",
    }


def test_a_directory_that_holds_other_things_keeps_them_and_they_are_not_committed(newcomer: Newcomer) -> None:
    newcomer.ops.mkdir()
    (newcomer.ops / "password.txt").write_text("s3cret")
    assert newcomer.types("init", "my-ops").code == 0
    assert newcomer.git("status", "--short") == "?? password.txt\n"


def test_a_second_time_changes_nothing(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    before = everything(newcomer.ops)
    assert newcomer.types("init", "my-ops").code == 2
    assert everything(newcomer.ops) == before
    assert newcomer.git("rev-list", "--count", "HEAD") == "1\n"


def test_a_file_in_the_place_of_the_directory(newcomer: Newcomer) -> None:
    newcomer.ops.write_text("a file")
    assert newcomer.types("init", "my-ops").code in {1, 2}
    assert newcomer.ops.read_text() == "a file"


def test_a_write_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        place(tmp_path / "ops", {"a/b/one": b"1", "two": b"2", "n" * 300: b"3"})
    assert list(tmp_path.iterdir()) == []


def test_without_a_name_in_git_nothing_is_committed_and_the_command_is_said(tmp_path: Path) -> None:
    stranger = Newcomer(home=tmp_path)
    answer = stranger.types("init", "my-ops")
    assert answer.code == 0
    assert "nothing was committed: Git does not know your name" in answer.out
    assert "git add . && git commit" in answer.out
    assert stranger.git("symbolic-ref", "HEAD") == "refs/heads/main\n"
    assert stranger.types("check", at=stranger.ops).code == 0


def test_a_name_in_the_environment_is_a_name(tmp_path: Path) -> None:
    names = {f"GIT_{who}_{what}": f"eve@{who}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    stranger = Newcomer(home=tmp_path)
    assert stranger.types("init", "my-ops", GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere", **names).code == 0
    assert stranger.git("log", "--format=%ae %ce") == "eve@AUTHOR eve@COMMITTER\n"


def test_a_commit_that_git_refuses_is_told_and_left_to_the_person(newcomer: Newcomer) -> None:
    newcomer.knows_git("[commit]", "gpgsign = true", "[gpg]", "program = /bin/false")
    answer = newcomer.types("init", "my-ops")
    assert answer.code == 0
    assert "nothing was committed: " in answer.out
    assert files(newcomer.ops) == WRITTEN


def test_a_git_repository_that_is_there_already_is_left_to_whom_it_belongs(newcomer: Newcomer) -> None:
    newcomer.ops.mkdir()
    newcomer.git("init", "--quiet", "--initial-branch", "trunk")
    answer = newcomer.types("init", newcomer.ops / "operations")
    assert answer.code == 0
    assert "nothing was done" in answer.out
    assert "git init" not in answer.out
    assert newcomer.git("status", "--short") == "?? operations/\n"
    assert not (newcomer.ops / "operations" / ".git").exists()


def test_files_only(newcomer: Newcomer) -> None:
    answer = newcomer.types("init", "my-ops", "--no-git", "--format", "json")
    assert answer.json["git"] is None
    assert answer.json["next"][1]["command"].startswith("git init --initial-branch main && git add .")
    assert not (newcomer.ops / ".git").exists()


def test_here(newcomer: Newcomer) -> None:
    newcomer.ops.mkdir()
    answer = newcomer.types("init", ".", at=newcomer.ops)
    assert answer.code == 0
    assert "cd " not in answer.out
    assert newcomer.git("rev-list", "--count", "HEAD") == "1\n"


def test_it_tells_programs_what_it_did(newcomer: Newcomer) -> None:
    told = newcomer.types("--format", "json", "init", "my-ops").json
    assert told["directory"] == str(newcomer.ops)
    assert set(told["files"]) == WRITTEN
    assert told["git"] == {"made": True, "commit": newcomer.git("rev-parse", "HEAD").strip(), "why": None}
    assert {"command": "opsascode run hello", "remark": "do it, on this machine"} in told["next"]
    refused = newcomer.types("init", "my-ops", "--format", "json")
    assert json.loads(refused.err)["exit_code"] == 2


def test_the_schemas_of_the_editor_can_be_brought_up_to_date(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    old = newcomer.ops / "schemas" / "runbook.schema.json"
    old.write_text("{}")
    assert newcomer.types("init", "--schemas", "my-ops").code == 2, "also these are never written over"
    for path in (newcomer.ops / "schemas").iterdir():
        path.unlink()
    assert newcomer.types("init", "--schemas", "my-ops").code == 0
    assert old.read_bytes() == (PROJECT / "schemas" / "runbook.schema.json").read_bytes()
    assert newcomer.git("status", "--short") == ""


def test_the_schemas_of_the_repository_judge_nothing(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    (newcomer.ops / "schemas" / "runbook.schema.json").write_text("{}")
    (newcomer.ops / "playbooks" / "hello.yml").write_text("apiVersion: opsascode/v1\nkind: Runbook\n")
    assert newcomer.types("check", at=newcomer.ops).code == 3


def test_every_document_names_the_schema_that_it_fits(made: Path) -> None:
    documents = [made / "opsascode.yml", *made.glob("playbooks/*.yml"), *made.glob("policies/*.yml")]
    assert len(documents) >= 3
    for document in documents:
        first, *_ = document.read_text().splitlines()
        named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
        assert named, document
        schema = json.loads((document.parent / named[1]).read_bytes())
        assert list(Draft202012Validator(schema).iter_errors(yaml.safe_load(document.read_text()))) == []


def test_the_editor_finds_a_schema_for_every_document_by_its_place(made: Path) -> None:
    settings = json.loads((made / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert all((made / name).is_file() for name in settings)
    matched = {path for globs in settings.values() for glob in globs for path in made.glob(glob.removeprefix("/"))}
    assert matched == {made / "opsascode.yml", *made.glob("playbooks/*.yml"), *made.glob("policies/*.yml")}


@pytest.mark.parametrize(("change", "faults"), [
    ({}, 0), ({"kind": "Runbook"}, 1), ({"kind": "Nothing"}, 1), ({"spec": {"require": {"max_hosts": 0}, "reason": "why"}}, 1), ({"spec": {}}, 1),
], ids=str)  # fmt: skip
def test_one_schema_knows_every_kind_of_policy(made: Path, change: dict[str, Any], faults: int) -> None:
    loaded = {path.name: Resource.from_contents(json.loads(path.read_bytes())) for path in made.glob("schemas/*.json")}
    judge = Draft202012Validator(
        json.loads((made / "schemas/policy.schema.json").read_bytes()),
        registry=Registry().with_resources(loaded.items()),
    )
    document = yaml.safe_load((made / "policies/small-steps.yml").read_text())
    assert len(list(judge.iter_errors({**document, **change}))) == faults


def test_schemas_are_those_that_are_installed() -> None:
    installed = editor_schemas()
    assert set(installed) == {*SCHEMAS, "schemas/policy.schema.json"}
    assert all(installed[name] == (PROJECT / name).read_bytes() for name in SCHEMAS)


def test_no_placeholder_is_left_and_the_pipeline_installs_this_release(made: Path) -> None:
    for path, content in everything(made).items():
        assert content is None or not re.search(rb"@[A-Z]+@", content), path
    workflow = yaml.safe_load((made / ".github/workflows/ops.yml").read_text())
    assert workflow["env"]["OPSASCODE"] == f"opsascode[reliability]=={__version__}"


def test_what_its_pages_link_to_exists_and_what_they_type_too(made: Path) -> None:
    for page in [made / "README.md", *made.glob("docs/*.md")]:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), target
        for path in re.findall(r"`((?:\.?[a-z-]+/)+[a-z.-]*|[a-z]+\.yml)`", text):
            to_come = path.startswith(("policies/trust/", "playbooks/ansible/", "refs/"))
            assert to_come or (made / path).exists(), path


def test_the_hook_before_a_commit_checks(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    (hook,) = yaml.safe_load((newcomer.ops / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert hook["entry"] == "opsascode check"
    assert [
        path
        for path in (
            "opsascode.yml",
            "playbooks/hello.yml",
            "policies/small-steps.yml",
            "inventories/local/hosts.yml",
            "README.md",
        )
        if re.search(hook["files"], path)
    ] == ["opsascode.yml", "playbooks/hello.yml", "policies/small-steps.yml", "inventories/local/hosts.yml"]


def test_git_keeps_signed_bytes_as_they_are(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    told = newcomer.git("check-attr", "text", "policies/trust/1.root.json", "playbooks/hello.yml")
    assert told.splitlines() == ["policies/trust/1.root.json: text: unset", "playbooks/hello.yml: text: auto"]


def test_the_guardrail_holds_from_the_first_run_on(newcomer: Newcomer) -> None:
    assert newcomer.types("init", "my-ops").code == 0
    hosts = ", ".join(f"lab{number}: {{}}" for number in range(11))
    inventory = newcomer.ops / "inventories/local/hosts.yml"
    inventory.write_text(
        re.sub(r"hosts:\n    lab1: \{\}\n    lab2: \{\}\n", f"hosts: {{{hosts}}}\n", inventory.read_text())
    )
    runbook = newcomer.ops / "playbooks/hello.yml"
    runbook.write_text(runbook.read_text().replace("max_hosts: 5", "max_hosts: 50"))
    answer = newcomer.types("plan", "hello", at=newcomer.ops)
    assert answer.code == 4
    assert "small-steps" in answer.out + answer.err


def test_the_same_is_made_of_the_same() -> None:

    day = date(2026, 11, 21)
    first, second = (new_repository(name="ops", version="1.0.0", owners=["@a"], today=day) for _ in range(2))
    assert dict(first) == dict(second)
