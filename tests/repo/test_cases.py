"""Every case of tests/cases/check: these documents have exactly these problems, and both validators agree on them.

`python -m tests.repo.test_cases` writes what is found now into the cases, to be read before it is committed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from opsascode.repo import CheckReport, check_repository, load_source, open_repository
from opsascode.repo._accept import compile_schema
from opsascode.repo._schema import kind_of, load_schema, validator

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = Path(__file__).parents[1] / "cases" / "check"
HEADER = "apiVersion: opsascode/v1\nkind: Runbook\nmetadata: {name: case}\nspec:\n"
POLICY = HEADER.replace("Runbook", "ReliabilityPolicy")
USUAL = {"slo_targets": "{availability: 99.9%}", "escalation_chain": "[{notify: team:sre}]"}


def _read() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(CASES.glob("*.yml")):
        for case in yaml.safe_load_all(path.read_text()):
            yield path, case


def _files(case: dict[str, Any]) -> dict[str, str]:
    if "files" in case:
        files: dict[str, str] = case["files"]
        return files
    if "reliability" in case:
        written = case["reliability"].splitlines()
        keys = {line.split(":")[0] for line in written}
        written += [f"{key}: {value}" for key, value in USUAL.items() if key not in keys]
        return {"policies/case.yml": POLICY + "".join(f"  {line}\n" for line in written)}
    targets = case.get("targets", {"hosts": "web"})
    body = "".join(f"  {line}\n" for line in case["runbook"].splitlines())
    head = (
        ""
        if "  targets:" in body
        else f"  targets: {yaml.safe_dump(targets, default_flow_style=True, width=500).strip()}\n"
    )
    return {"playbooks/case.yml": HEADER + head + body}


def _write(root: Path, case: dict[str, Any]) -> None:
    for name, text in _files(case).items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def _told(root: Path) -> list[str]:
    problems = check_repository(open_repository(root, tolerant=True)).problems
    return [
        f"{each.position} {each.document_path or '.'} [{each.code}] {each.message}"
        + (f" → {each.mend}" if each.mend else "")
        for each in problems
    ]


def _identity(case: tuple[Path, dict[str, Any]]) -> str:
    return f"{case[0].stem}: {case[1]['case']}"


@pytest.mark.parametrize("case", [pytest.param(case, id=_identity(case)) for case in _read()])
def test_documents_have_exactly_these_problems(case: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _write(tmp_path.resolve(), case[1])
    assert _told(tmp_path.resolve()) == case[1].get("problems", [])


@pytest.mark.parametrize("case", [pytest.param(case, id=_identity(case)) for case in _read()])
def test_what_is_quickly_accepted_is_valid(case: tuple[Path, dict[str, Any]]) -> None:
    for name, text in _files(case[1]).items():
        for document in load_source(text.encode(), name).documents:
            kind = kind_of(document)
            if kind is not None:
                errors = list(validator(kind).iter_errors(document.value))
                assert not (compile_schema(load_schema(kind))(document.value) and errors)


def test_a_report_is_ok_without_errors() -> None:
    assert CheckReport(files=0, documents=0, problems=()).ok


def _literal(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text and "\t" not in text else None
    )


def _update() -> None:
    yaml.SafeDumper.add_representer(str, _literal)
    cases: dict[Path, list[dict[str, Any]]] = {}
    for path, case in _read():
        with tempfile.TemporaryDirectory() as place:
            root = Path(place).resolve()
            _write(root, case)
            case.pop("problems", None)
            told = _told(root)
        cases.setdefault(path, []).append(case | ({"problems": told} if told else {}))
    for path, changed in cases.items():
        path.write_text(yaml.safe_dump_all(changed, sort_keys=False, allow_unicode=True, width=10000))


if __name__ == "__main__":
    _update()
