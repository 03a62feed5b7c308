"""A file that a command line names is read and written, or the error says which, and ends as wrong words do."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsascode.cli._files import append_report, read_file, write_file
from opsascode.errors import ExitCode, UsageError

FULL = Path("/dev/full")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    place = tmp_path / "answer.json"
    write_file(place, "¿qué?", "the answer")
    append_report(place, "\n")
    append_report(None, "nothing")
    assert read_file(place, 8) == "¿qué?\n".encode()
    with pytest.raises(UsageError, match="has more than 7 bytes"):
        read_file(place, 7)


def test_what_cannot_be_written_or_read_names_itself_and_is_wrong_words(tmp_path: Path) -> None:
    for place in (FULL, tmp_path, tmp_path / "none" / "answer.json"):
        with pytest.raises(UsageError, match=f"the answer cannot be written to {place}: [A-Z]") as written:
            write_file(place, b"x", "the answer")
        with pytest.raises(UsageError, match=f"the report cannot be written to {place}: [A-Z]") as added:
            append_report(place, "x")
        assert {written.value.exit_code, added.value.exit_code} == {ExitCode.USAGE}
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=f"^the answer {place} cannot be read: [A-Z]"):
            read_file(place, 1, what="the answer")
