"""Collections are those that were planned: exact versions, archives by digest, installed for one run without network."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import InvalidDocumentsError, check_repository, open_repository, read_requirements
from opsascode.run import find_collections, install_collections

from .staging import local_inventory, order, run

GALAXY = Path(sys.executable).parent / "ansible-galaxy"
OFFLINE = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "ANSIBLE_GALAXY_SERVER_LIST": "",
    "ANSIBLE_GALAXY_SERVER": "http://127.0.0.1:9",
}


def build(directory: Path, target: Path, version: str = "1.2.3", dependencies: dict[str, str] | None = None) -> Path:
    """Build a collection with one module, as its author would."""
    source = directory / f"source-{version}"
    (source / "plugins/modules").mkdir(parents=True)
    about = {
        "namespace": "acme",
        "name": "tools",
        "version": version,
        "readme": "README.md",
        "authors": ["Alex Example"],
    }
    (source / "galaxy.yml").write_text(json.dumps({**about, "dependencies": dependencies or {}}))
    (source / "README.md").write_text("tools\n")
    (source / "plugins/modules/greet.py").write_text(
        "from ansible.module_utils.basic import AnsibleModule\n"
        f"AnsibleModule({{}}).exit_json(greeting='hello from {version}')\n"
    )
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run([GALAXY, "collection", "build", source, "--output-path", target], check=True, capture_output=True)
    return target / f"acme-tools-{version}.tar.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "repository"
    made.mkdir()
    (made / "opsascode.yml").write_text("apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: r}\n")
    return made


def require(root: Path, text: str = "{name: acme.tools, version: 1.2.3}", file: str = "requirements.yml") -> None:
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(f"---\ncollections:\n  - {text}\n")


def test_a_run_uses_the_archive_of_the_repository_and_needs_no_network(tmp_path: Path, root: Path) -> None:
    require(root)
    build(tmp_path, root / "collections/archive")
    (archive,) = find_collections(root, cache=None, environment=OFFLINE)
    assert archive.pin.path == "collection:acme.tools:1.2.3"
    assert archive.pin.digest.startswith("sha256:")
    installed = tmp_path / "content" / "installed"
    install_collections((archive,), installed, environment=OFFLINE)
    assert [path.name for path in installed.parent.iterdir()] == ["installed"]
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "tasks": [{"acme.tools.greet": {}, "vars": {"opsascode_step": "greet"}}],
        }
    ]
    ordered = order(tmp_path, json.dumps(plays).encode(), inventory=local_inventory("a"), collections_path=(installed,))
    seen = run(ordered)
    assert seen.result.outcome.value == "succeeded", seen.result
    assert (installed / "ansible_collections/acme/tools/MANIFEST.json").is_file()


def test_the_cache_serves_where_the_repository_has_no_archive(tmp_path: Path, root: Path) -> None:
    require(root, "acme.tools:==1.2.3", "collections/requirements.yml")
    cached = build(tmp_path, tmp_path / "cache/collections")
    (archive,) = find_collections(root, cache=tmp_path / "cache", environment=OFFLINE)
    assert archive.path == cached


def test_without_archive_and_network_it_is_told_which_one_is_missing(tmp_path: Path, root: Path) -> None:
    require(root, "{name: acme.tools, version: 1.2.3, source: 'http://127.0.0.1:9'}")
    with pytest.raises(ResolveError, match=r"acme-tools-1\.2\.3\.tar\.gz does not exist"):
        find_collections(root, cache=None, environment=OFFLINE)
    with pytest.raises(
        ResolveError, match=r"acme-tools-1\.2\.3\.tar\.gz is neither in collections/archive nor in the cache"
    ):
        find_collections(root, cache=tmp_path / "cache", environment=OFFLINE)
    assert list((tmp_path / "cache/collections").iterdir()) == []


def test_an_archive_that_changed_after_the_plan_is_not_installed(tmp_path: Path, root: Path) -> None:
    require(root)
    path = build(tmp_path, root / "collections/archive")
    archives = find_collections(root, cache=None, environment=OFFLINE)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ResolveError, match="has changed since the plan was made"):
        install_collections(archives, tmp_path / "content/installed", environment=OFFLINE)
    path.unlink()
    with pytest.raises(ResolveError, match="is gone since the plan was made"):
        install_collections(archives, tmp_path / "content/installed", environment=OFFLINE)


def test_an_archive_under_a_wrong_name_and_one_that_is_none_are_refused(tmp_path: Path, root: Path) -> None:
    require(root)
    place = root / "collections/archive"
    build(tmp_path, place, "9.9.9").rename(place / "acme-tools-1.2.3.tar.gz")
    with pytest.raises(ResolveError, match=r"holds acme\.tools 9\.9\.9"):
        find_collections(root, cache=None, environment=OFFLINE)
    (place / "acme-tools-1.2.3.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ResolveError, match="is no archive of a collection"):
        find_collections(root, cache=None, environment=OFFLINE)
    with tarfile.open(place / "acme-tools-1.2.3.tar.gz", "w:gz"):
        pass
    with pytest.raises(ResolveError, match="is no archive of a collection"):
        find_collections(root, cache=None, environment=OFFLINE)


def test_what_a_collection_needs_must_be_asked_for_too(tmp_path: Path, root: Path) -> None:
    require(root)
    build(tmp_path, root / "collections/archive", dependencies={"acme.base": ">=1.0.0"})
    with pytest.raises(ResolveError, match=r"acme\.tools needs acme\.base"):
        find_collections(root, cache=None, environment=OFFLINE)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("acme.tools", "says no version"),
        ("{name: acme.tools}", "says no version"),
        ("{name: acme.tools, version: '>=1.0.0'}", "says «>=1.0.0»"),
        ("{name: acme.tools, version: '*'}", "says «*»"),
        ("{name: acme.tools, version: 1.2}", "says «1.2»"),
        ("{name: 'https://example.org/x.git', type: git, version: main}", "can be pinned"),
        ("{name: acme.tools, type: dir, version: 1.2.3}", "can be pinned"),
        ("[acme.tools]", "this is no collection"),
        ("acme.tools:1.2.3\n  - acme.tools:1.2.4", "asked for in two versions"),
    ],
)
def test_what_two_runs_could_understand_differently_is_a_problem(root: Path, entry: str, says: str) -> None:
    require(root, entry)
    (problem,) = check_repository(open_repository(root)).problems
    assert says in problem.message
    assert problem.position.path == "requirements.yml"
    assert problem.position.line >= 3
    assert problem.mend
    with pytest.raises(InvalidDocumentsError):
        find_collections(root, cache=None, environment=OFFLINE)


def test_roles_of_a_requirements_file_are_told_and_stop_nothing(root: Path) -> None:
    (root / "requirements.yml").write_text("- src: geerlingguy.nginx\n")
    (problem,) = read_requirements(root).problems
    assert problem.severity.value == "warning"
    assert find_collections(root, cache=None, environment=OFFLINE) == ()
