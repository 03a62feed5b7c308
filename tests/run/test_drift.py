"""What counts as drift of a runbook: whatever a plan of it pins of the repository's content, and nothing else.

Plans are those of `resolve`, and records are signed and read back as those of runs are; only Ansible is not started.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.policy import Permit, Trigger
from opsascode.proof import TeamRecord, open_envelope, seal
from opsascode.repo import ObjectStore, open_repository
from opsascode.run import Purpose, Request, Tools, evidence_of, resolve, reviewed_by_pack, runbook_drift
from opsascode.run._record import CONTENT_BYTES, Actor, Ending, Links, RunSubject, end_statement, start_statement
from tests.run.histories import BEGIN, Machine
from tests.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.proof import Statement
    from opsascode.run import RunbookDrift
    from opsascode.run._drift import PackReview

RUN = "20260301-120000-000001"
STEPS = {
    "deploy": """
- {id: role, role: web}
- {id: shared, role: common}
- {id: beside, playbook: site/main.yml}
- {id: within, playbook: playbooks/ansible/site.yml}
- {id: verify, runbook: verify}
""",
    "verify": "- {id: deeper, runbook: deeper}",
    "deeper": "- {id: hello, task: {ansible.builtin.debug: {msg: hello}}}",
    "other": "- {id: hello, task: {ansible.builtin.debug: {msg: hello}}}",
}
PLAY = "- name: Site\n  hosts: all\n  tasks: []\n"
TASKS = "- name: Hello\n  ansible.builtin.debug: {msg: hello}\n"
GUARDRAIL = """
apiVersion: opsascode/v1
kind: Guardrail
metadata: {name: small}
spec: {require: {max_hosts: 9}, reason: small}
"""
FILES = {
    "opsascode.yml": """
apiVersion: opsascode/v1
kind: Repository
metadata: {name: drifting}
spec: {inventory: inventories/hosts.yml, roles_path: [shared/roles]}
""",
    "ansible.cfg": "[defaults]\ntimeout = 30\n",
    "inventories/hosts.yml": "all: {hosts: {web1: {}, web2: {}}}\n",
    "inventories/group_vars/all.yml": "x: 1\n",
    "roles/web/tasks/main.yml": TASKS,
    "roles/web/files/start.sh": "true\n",
    "roles/unused/tasks/main.yml": TASKS,
    "shared/roles/common/tasks/main.yml": TASKS,
    "shared/notes.md": "notes\n",
    "site/main.yml": PLAY,
    "site/vars/main.yml": "x: 1\n",
    "playbooks/ansible/site.yml": PLAY,
    "playbooks/files/motd": "hello\n",
    "playbooks/templates/motd.j2": "{{ x }}\n",
    "playbooks/vars/main.yml": "x: 1\n",
    "policies/small.yml": GUARDRAIL,
    "README.md": "read\n",
    "docs/how.md": "how\n",
}
PINNED = frozenset(
    {
        "opsascode.yml",
        "ansible.cfg",
        "roles/web/tasks/main.yml",
        "roles/web/files/start.sh",
        "roles/unused/tasks/main.yml",
        "shared/roles/common/tasks/main.yml",
        "site/main.yml",
        "site/vars/main.yml",
        "playbooks/ansible/site.yml",
        "playbooks/files/motd",
        "playbooks/templates/motd.j2",
        "playbooks/vars/main.yml",
        "playbooks/deploy.yml",
        "playbooks/verify.yml",
        "playbooks/deeper.yml",
    }
)
OTHERS = frozenset(FILES) | {f"playbooks/{name}.yml" for name in STEPS}
UNPINNED = OTHERS - PINNED


class Place(World):
    """A repository, and what was recorded about runs of its runbooks."""

    def __init__(self, home: Path, records: tuple[TeamRecord, ...] = ()) -> None:
        super().__init__(home=home)
        self.records = records

    def content(self, name: str = "deploy") -> Any:
        """What a plan of now pins of the content, as a start record names it."""
        return self._subject(name, Purpose.RUN).content

    def ran(self, name: str = "deploy", *, purpose: Purpose = Purpose.RUN, hour: int = 1, **said: Any) -> None:
        """Record a run of what lies there now; `said` is put into its start record, or None leaves it out."""
        subject, at = self._subject(name, purpose), BEGIN + timedelta(hours=hour)
        start = start_statement(
            subject,
            Permit(plan_digest=subject.plan, guardrails=(), issued=at, expires=at),
            actor=Actor(user="alex", machine="one"),
            trigger=Trigger.MANUAL,
            tools=Tools(opsascode="0", ansible_core="0", ansible_runner="0", python="0"),
            links=Links(),
            now=at,
        )
        told = {name: value for name, value in {**start.predicate, **said}.items() if name not in said or value}
        ending = Ending(outcome="succeeded", reason="", undone=False, started=at, ended=at)
        ended = end_statement(subject, ending=ending, stages=(), results={}, start_record="")
        self.append(replace(start, predicate=told), ended)

    def append(self, *statements: Statement) -> None:
        signer = Machine(self.home / "machine").signer
        for each in statements:
            record = open_envelope(seal(each, signer), (signer.public_key,))
            self.records += (TeamRecord(ledger="", index=len(self.records), team_index=None, record=record),)

    def drift(self, name: str = "deploy", review: PackReview | None = None) -> RunbookDrift:
        told = runbook_drift(open_repository(self.root), evidence_of(self.records), review)
        return next(each for each in told if each.runbook == name)

    def review(self, *protected: str, hour: int) -> PackReview:
        snapshot = ObjectStore.of(self.root).snapshot(self.git("rev-parse", "HEAD").strip(), protected)
        return reviewed_by_pack(snapshot, BEGIN + timedelta(hours=hour), protected)

    def change(self, path: str) -> None:
        """Change a file so that it says the same: what differs are bytes."""
        place = self.root / path
        place.write_text(f"{place.read_text()}# changed\n")

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Let something be changed and take it back."""
        yield
        self.git("add", "--all")
        self.git("reset", "--quiet", "--hard", "HEAD")

    def _subject(self, name: str, purpose: Purpose) -> RunSubject:
        repository = open_repository(self.root)
        plan = resolve(
            repository,
            Request(runbook=repository.runbook(name)),
            environ={"PATH": "/usr/bin:/bin"},
            cache=self.home / "cache",
        ).plan
        return RunSubject.of_plan(RUN, plan, ledger="ledger", purpose=purpose)


def laid_out(place: Place) -> Place:
    place.root.mkdir(parents=True)
    place.git("init", "--quiet", "--initial-branch", "main")
    for path, text in FILES.items():
        place.write(path, text)
    for name, steps in STEPS.items():
        place.runbook(name, steps, targets="{hosts: all}")
    place.commit("begin")
    return place


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A repository of which everything was run, as it is committed."""
    place = laid_out(Place(tmp_path_factory.mktemp("template")))
    place.ran()
    return place


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    shutil.copytree(template.home, tmp_path / "home", symlinks=True)
    return Place(tmp_path / "home", template.records)


def test_whatever_is_pinned_is_drift_and_named_and_what_is_not_pinned_is_none(place: Place) -> None:
    """The table: every file of the repository once; what a new plan pins tells what is right."""
    before, said = place.content(), {}
    for path in sorted(OTHERS):
        with place.restored():
            place.change(path)
            found = place.drift()
            assert found.drifted is (place.content() != before), path
            said[path] = (found.why, found.differs, found.not_compared)
    assert said == {
        **{path: (f"{path} changed since its last run", (path,), "") for path in PINNED},
        **dict.fromkeys(UNPINNED, ("", (), "")),
    }


@settings(max_examples=20)
@given(changed=st.sets(st.sampled_from(sorted(OTHERS))))
def test_exactly_the_changed_files_that_are_pinned_are_named(template: Place, changed: set[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(template.home, Path(name) / "home", symlinks=True)
        place = Place(Path(name) / "home", template.records)
        for path in changed:
            place.change(path)
        found = place.drift()
    assert set(found.differs) == changed & PINNED
    assert found.drifted is bool(changed & PINNED)
    assert len(found.differs) == len(set(found.differs))


def test_of_several_files_one_is_named_and_the_others_counted(place: Place) -> None:
    for path in ("roles/web/tasks/main.yml", "playbooks/vars/main.yml", "site/main.yml"):
        place.change(path)
    assert place.drift().why == "playbooks/vars/main.yml changed since its last run, and 2 more"


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("roles/web/handlers/main.yml", TASKS, "roles/web/handlers/main.yml is new since its last run"),
        ("playbooks/tasks/more.yml", TASKS, "playbooks/tasks/more.yml is new since its last run"),
        ("site/more.yml", PLAY, "site/more.yml is new since its last run"),
        ("shared/more.md", "", ""),
        ("ansible/site.yml", PLAY, ""),
        ("roles/web/files/__pycache__/x.pyc", "x", ""),
    ],
)
def test_a_new_file_is_drift_where_a_plan_would_pin_it(place: Place, path: str, text: str, why: str) -> None:
    place.write(path, text)
    assert place.drift().why == why


@pytest.mark.parametrize("path", ["roles/web/tasks/main.yml", "playbooks/templates/motd.j2", "ansible.cfg"])
def test_a_file_that_is_gone_is_drift(place: Place, path: str) -> None:
    (place.root / path).unlink()
    assert place.drift().why == f"{path} is gone since its last run"


def test_a_mode_is_content_and_an_empty_directory_is_none(place: Place) -> None:
    (place.root / "playbooks/tasks").mkdir()
    assert place.drift().why == ""
    (place.root / "roles/web/files/start.sh").chmod(0o755)
    assert place.drift().why == "roles/web/files/start.sh changed since its last run"


def test_a_link_that_leads_out_of_the_repository_is_drift_and_no_failure(place: Place) -> None:
    (place.root / "roles/web/files/out").symlink_to("/etc/hostname")
    assert place.drift().why == "roles/web/files/out changed since its last run"


def test_a_runbook_in_another_file_of_the_same_bytes_has_not_drifted(place: Place) -> None:
    (place.root / "playbooks/deploy.yml").rename(place.root / "playbooks/renamed.yml")
    assert place.drift().why == ""


def test_a_collection_in_another_version_is_drift(place: Place) -> None:
    archive = place.root / "collections/archive/team-tools-1.0.0.tar.gz"
    archive.parent.mkdir(parents=True)
    shutil.copy(collection(place.home, "1.0.0"), archive)
    wanted = "collections: [{name: team.tools, version: 1.0.0}]\n"
    place.write("collections/requirements.yml", wanted)
    assert place.drift().why == "collection:team.tools:1.0.0 is new since its last run"
    place.ran(hour=2)
    assert place.drift().why == ""
    archive.write_bytes(archive.read_bytes() + b"\0")
    assert place.drift().why == "collection:team.tools:1.0.0 changed since its last run"
    archive.unlink()
    assert place.drift().why == "", "it is in the user's cache then, or will be downloaded: the version is committed"
    place.write("collections/requirements.yml", wanted.replace("1.0.0", "1.0.1"))
    assert place.drift().differs == ("collection:team.tools:1.0.0", "collection:team.tools:1.0.1")


# What was uncommitted.


def test_what_was_rehearsed_before_it_was_committed_has_not_drifted_when_it_is(place: Place) -> None:
    place.change("roles/web/tasks/main.yml")
    place.ran(purpose=Purpose.CHECK, hour=2)
    assert place.drift().why == ""
    place.commit("as it was rehearsed")
    assert place.drift().why == ""
    place.change("roles/unused/tasks/main.yml")
    assert place.drift().why == "something in roles changed since its last rehearsal"
    assert place.drift().differs == ("roles",)


def test_a_directory_that_was_as_committed_is_told_file_by_file_whatever_else_was_not(place: Place) -> None:
    place.change("README.md")
    place.change("site/main.yml")
    place.ran(hour=2)
    place.change("roles/web/tasks/main.yml")
    assert place.drift().why == "roles/web/tasks/main.yml changed since its last run"


@pytest.mark.parametrize("kind", ["no repository", "shallow clone", "another history"])
def test_without_the_commit_the_directory_is_named(place: Place, kind: str) -> None:
    place.commit("one more")
    if kind == "shallow clone":
        (place.root / ".git/shallow").write_text(place.git("rev-parse", "HEAD"))
    else:
        shutil.rmtree(place.root / ".git")
    if kind == "another history":
        place.git("init", "--quiet")
    assert place.drift().why == ""
    place.change("roles/web/tasks/main.yml")
    assert place.drift().why == "something in roles changed since its last run"


class Nested(Place):
    """An ops repository that is a directory of a Git repository."""

    @property
    def root(self) -> Path:
        return self.home / "repo" / "ops"


def test_an_ops_repository_within_another_one_is_told_file_by_file(tmp_path: Path) -> None:
    place = Nested(tmp_path)
    place.root.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(place.root.parent)], check=True)
    for path, text in FILES.items():
        place.write(path, text)
    for name, steps in STEPS.items():
        place.runbook(name, steps, targets="{hosts: all}")
    place.commit()
    place.ran()
    place.change("roles/web/tasks/main.yml")
    assert place.drift().why == "roles/web/tasks/main.yml changed since its last run"


# What a record does not say.


def test_by_an_older_record_the_file_alone_is_compared_and_that_is_said(place: Place) -> None:
    place.ran(hour=2, content=None)
    found = place.drift()
    assert (found.why, found.differs) == ("", ())
    assert found.not_compared == f"what lies beside its file: the record of run {RUN} does not name it"
    place.change("roles/web/tasks/main.yml")
    assert place.drift() == found, "the older release may have run it like this"
    place.change("playbooks/deploy.yml")
    assert place.drift().why == "playbooks/deploy.yml changed since its last run"
    place.ran(hour=3)
    assert (place.drift().why, place.drift().not_compared) == ("", "")


def test_more_content_than_fits_into_a_record_is_left_out_and_that_is_said(place: Place) -> None:
    for number in range(60):
        place.runbook(f"part-{number}-{'x' * 40}", STEPS["other"], targets="{hosts: all}")
    steps = "".join(f"- {{id: s{number}, runbook: part-{number}-{'x' * 40}}}\n" for number in range(60))
    place.runbook("whole", steps, targets="{hosts: all}")
    assert place.content("whole") is None, f"it is over {CONTENT_BYTES} bytes"
    place.ran("whole", hour=2)
    assert place.drift("whole").why == ""
    assert "does not name it" in place.drift("whole").not_compared


@pytest.mark.parametrize(
    "content",
    [
        ["roles"],
        {"pins": {}},
        {"pins": {"../outside": "sha256:00"}, "trees": {}},
        {"pins": {}, "trees": {"/etc": "sha256:00"}},
        {"pins": {}, "trees": {"roles": 1}},
    ],
)
def test_content_of_another_form_tells_nothing(place: Place, content: Any) -> None:
    place.ran(hour=2, content=content)
    place.change("roles/web/tasks/main.yml")
    assert (place.drift().why, bool(place.drift().not_compared)) == ("", True)


# What an applied pack reviews.


def test_a_pack_reviews_what_is_inside_it_and_what_lies_beside_it_is_said(place: Place) -> None:
    place.records = ()
    review = place.review("playbooks/**", "roles/**", hour=2)
    found = place.drift(review=review)
    assert (found.why, found.last.kind.value if found.last else None) == ("", "review")
    assert found.not_compared == (
        "what lies beside its file and outside of the applied pack, such as shared/roles: no record names it"
    )
    for path in ("shared/roles/common/tasks/main.yml", "site/main.yml", "ansible.cfg"):
        place.change(path)
    assert place.drift(review=review) == found, "the pack says nothing about them"
    place.change("roles/web/tasks/main.yml")
    assert place.drift(review=review).why == "roles/web/tasks/main.yml changed since its last review"
    place.write("playbooks/tasks/new.yml", TASKS)
    (place.root / "playbooks/files/motd").unlink()
    place.change("playbooks/deeper.yml")
    assert sorted(place.drift(review=review).differs) == [
        "playbooks/deeper.yml",
        "playbooks/files/motd",
        "playbooks/tasks/new.yml",
        "roles/web/tasks/main.yml",
    ]


def test_a_pack_of_everything_leaves_nothing_uncompared(place: Place) -> None:
    place.records = ()
    review = place.review("**", hour=2)
    assert (place.drift(review=review).why, place.drift(review=review).not_compared) == ("", "")
    for path in sorted(OTHERS):
        with place.restored():
            place.change(path)
            expected = f"{path} changed since its last review" if path in PINNED else ""
            assert place.drift(review=review).why == expected


@pytest.mark.parametrize(
    ("name", "gone"),
    [("other", "roles"), ("other", "ansible.cfg"), ("other", "playbooks/vars"), ("deploy", "site/vars/main.yml")],
)
def test_what_a_pack_holds_and_is_gone_is_drift(place: Place, name: str, gone: str) -> None:
    place.records = ()
    review = place.review("**", hour=2)
    place.git("rm", "-r", "--quiet", gone)
    expected = {path for path in FILES if path == gone or path.startswith(f"{gone}/")}
    assert set(place.drift(name, review).differs) == expected
    assert " is gone since its last review" in place.drift(name, review).why


def test_of_what_lies_beside_a_newer_pack_the_last_run_tells(place: Place) -> None:
    place.change("roles/web/tasks/main.yml")
    place.change("site/main.yml")
    place.commit("reviewed, and something beside")
    review = place.review("playbooks/**", "roles/**", hour=2)
    found = place.drift(review=review)
    assert (found.why, found.differs, found.not_compared) == (
        "site/main.yml changed since its last run", ("site/main.yml",), "",
    )  # fmt: skip
    place.change("roles/unused/tasks/main.yml")
    assert place.drift(review=review).why == (
        "roles/unused/tasks/main.yml changed since its last review; site/main.yml changed since its last run"
    )


def test_a_run_after_the_pack_was_applied_tells_all(place: Place) -> None:
    review = place.review("playbooks/**", "roles/**", hour=2)
    place.change("roles/web/tasks/main.yml")
    place.ran(hour=3)
    assert place.drift(review=review).why == ""


def collection(place: Path, version: str) -> Path:
    """An archive of a collection, as far as a plan looks at it."""
    manifest = json.dumps({"collection_info": {"namespace": "team", "name": "tools", "version": version}}).encode()
    archive = place / f"team-tools-{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        about = tarfile.TarInfo("MANIFEST.json")
        about.size = len(manifest)
        file.addfile(about, io.BytesIO(manifest))
    return archive
