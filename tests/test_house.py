"""The house is in order: layers, doors, sizes, words. What ruff and mypy do not look at is looked at here."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

import opsascode

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PRODUCT = sorted(path for path in (ROOT / "opsascode").rglob("*.py"))
WRITTEN = sorted(
    path
    for folder in ("opsascode", "tests", "lab", "benchmarks", "playbooks", "policies", "schemas", "docs")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
    and path.suffix in {"", ".py", ".yml", ".json", ".md", ".sh"}
    and not any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(ROOT).parts)
)
PYTHON = [path for path in WRITTEN if path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python")]
PLUGINS = frozenset(path for path in PRODUCT if "ansible" in path.relative_to(ROOT).parts)
DOORS = {
    "cel_expr_python": {"repo/_conditions.py"},
    "httpx": {"slo/_prometheus.py"},
    "ansible_runner": {"run/_child.py"},
    "click": {path.relative_to(ROOT / "opsascode").as_posix() for path in PRODUCT if path.parent.name == "cli"},
    "cryptography": {"proof/_keys.py"},
    "jinja2": {"repo/_expressions.py", "repo/_check.py"},
    "jsonschema": {"repo/_schema.py"},
    "ptyprocess": {"run/_child.py"},
    "rich": {"cli/_progress.py"},
    "yaml": {"repo/_source.py", "repo/_check.py", "run/_compiler.py"},
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """The outside packages a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for each in names:
            package = each.partition(".")[0]
            if package != "opsascode" and package not in sys.stdlib_module_names:
                yield package


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_house_knows_only_the_houses_below_it_and_enters_them_by_their_door() -> None:
    done = subprocess.run([BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_outside_package_has_one_door() -> None:
    found: dict[str, set[str]] = {}
    for path in PRODUCT:
        if path not in PLUGINS:
            for package in imported(path):
                found.setdefault(package, set()).add(path.relative_to(ROOT / "opsascode").as_posix())
    assert set(found) == set(DOORS)
    assert {package: rooms - DOORS[package] for package, rooms in found.items() if rooms - DOORS[package]} == {}


def test_ansible_is_imported_only_by_what_runs_inside_of_ansible() -> None:
    assert {package for path in PLUGINS for package in imported(path)} <= {"ansible"}
    code = "import sys; from opsascode.cli import run_command_line as run; code = run(['plan', 'ping']); "
    done = python("-c", f"{code}print(code, 'ansible' in sys.modules, 'ansible_runner' in sys.modules)")
    assert done.stdout.splitlines()[-1:] == ["0 False False"], done.stdout + done.stderr


def test_help_imports_no_heavy_package() -> None:
    heavy = (
        "yaml",
        "jsonschema",
        "jinja2",
        "cryptography",
        "rich",
        "ansible_runner",
        "cel_expr_python",
        "httpx",
        "opsascode.run",
        "opsascode.slo",
        "opsascode.repo",
    )
    code = "import sys; from opsascode.cli import run_command_line as run; run(['--help']); "
    done = python("-c", f"{code}print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_every_module_and_whatever_is_public_in_it_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the module has no docstring"
    outer = [node for node in definitions(path) if node in tree(path).body and not node.name.startswith("_")]
    assert [node.name for node in outer if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in definitions(path)}
    functions = {node.name for node in definitions(path) if not isinstance(node, ast.ClassDef)}
    assert {each: size for each, size in sizes.items() if each in functions and size > 60} == {}


def test_the_median_function_is_no_longer_than_twelve_lines() -> None:
    sizes = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in PRODUCT
        for node in definitions(path)
        if not isinstance(node, ast.ClassDef)
    )
    assert sizes[len(sizes) // 2] <= 12


def test_every_silenced_finding_says_why_in_its_line() -> None:
    codes, kinds = r"(?P<codes>:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?", r"(?P<kinds>\[[\w, -]+\])?"
    silenced = re.compile(rf"#\s*(?:ruff:\s*)?(?:noqa{codes}|type:\s*ignore{kinds})")
    bare = []
    for path in (path for path in PYTHON if path != Path(__file__)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            *_, last = (None, *silenced.finditer(line))
            if last:
                reason = re.sub(r"[^A-Za-z]", "", line[last.end() :])
                if not (last["codes"] or last["kinds"]) or len(reason) < 5:
                    bare.append(f"{name(path)}:{number}: {line.strip()}")
    assert bare == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b")
    found = [name(path) for path in WRITTEN if later.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert found == []


def test_the_documents_that_are_shipped_are_valid() -> None:
    done = python("-m", "opsascode", "check", "--format", "json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["documents"] >= 7


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.json")), ids=name)
def test_the_schemas_that_are_shipped_are_valid(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_bytes()))


def test_the_version_is_one_and_the_changelog_tells_of_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == opsascode.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(opsascode.__version__)}\b", changelog, re.MULTILINE)


def test_every_dependency_is_declared_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.partition("==")[0].lower() for line in pins.splitlines() if "==" in line}
    names = {re.split(r"[\[<>=]", each)[0].lower() for each in wanted}
    assert names - pinned == set()
    distributions = {
        "ansible_runner": "ansible-runner",
        "cel_expr_python": "cel-expr-python",
        "jinja2": "ansible-core",
        "ptyprocess": "ansible-runner",
        "yaml": "pyyaml",
    }
    optional = project["optional-dependencies"]["reliability"]
    declared = {re.split(r"[\[<>=]", each)[0] for each in (*project["dependencies"], *optional)}
    assert {distributions.get(package, package) for package in DOORS} <= declared
