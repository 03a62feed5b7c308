"""What does holding policies together add to a check?

Only a repository whose documents are all valid is looked at. People come from the trust root that is committed here;
one that cannot be read is reported elsewhere, and then nothing is said about people.

Not here: finding anything (`policy`), showing it (`_check`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opsascode.errors import OpsError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from opsascode.repo import CheckReport, People, Repository


def with_lint(report: CheckReport, repository: Repository, *, cache: Path, now: datetime) -> CheckReport:
    """Add what does not fit together to a report, as far as it was asked about.

    What was found is kept in the directory `cache` for the rest of the day, as long as nothing changes.
    """
    from opsascode.policy import lint, lint_key  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import Problem, remembered, whole_of  # noqa: PLC0415 - keeps --help quick

    root = repository.root
    if not report.valid or not (root / "policies").is_dir():
        return report
    people = committed_people(root)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)

    def find() -> tuple[Problem, ...]:
        whole = whole_of(repository)
        return lint(whole.policies, whole.runbooks, people, now=today)

    parts = (report.digest, people.digest if people else "", today.isoformat(), lint_key())
    found = remembered(cache, root, " ".join(parts), find)
    about = report.about
    kept = {each for each in found if about is None or each.position.path in about}
    return replace(report, problems=tuple(sorted({*report.problems, *kept}, key=Problem.sort_key)))


def committed_people(root: Path) -> People | None:
    """Give the people of the trust root that is committed here, None where there is none that can be read."""
    from opsascode.proof import read_chain  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import committed_trust, people_of  # noqa: PLC0415 - likewise

    try:
        envelopes = committed_trust(root, "HEAD")
        newest = read_chain(envelopes).current if envelopes else None
    except OpsError:
        return None
    return None if newest is None else people_of(newest.root, newest.digest)
