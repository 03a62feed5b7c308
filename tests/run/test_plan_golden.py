"""The same runbook always becomes the same plan and the same playbook, byte for byte.

The cases lie in `tests/cases/plans`: the runbook, the plan and the playbook it must become. After a wanted change,
`python -m tests.run.regenerate_plans` writes them anew, and the difference is what a reviewer reads.
"""

from __future__ import annotations

import pytest

from tests.run.regenerate_plans import CASES, NAMES, golden_files, make_repository


@pytest.mark.parametrize("case", NAMES)
def test_a_runbook_becomes_exactly_this_plan_and_playbook(case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = golden_files(make_repository(tmp_path_factory.mktemp(case)), case)
    assert {name: (CASES / name).read_text(encoding="utf-8") for name in made} == made
    assert {path.name for path in CASES.glob(f"{case}.*")} == {f"{case}.yml", *made}


def test_no_secret_value_is_in_plan_or_playbook(tmp_path: pytest.TempPathFactory) -> None:
    made = golden_files(make_repository(tmp_path), "kinds")  # type: ignore[arg-type]  # tmp_path is a path
    assert all("t0p-secret" not in text for text in made.values())
