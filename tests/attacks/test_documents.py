"""Documents made to break, exhaust or mislead their reader, each attack by its name: answered by problems, quickly."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import UsageError
from opsascode.repo import InvalidDocumentsError, check_repository, load_source, open_repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
HEAD = b"apiVersion: opsascode/v1\nkind: Runbook\nmetadata: {name: a}\nspec:\n  targets: {hosts: web}\n  steps:\n"
TASK = b"    - {id: a, task: {ansible.builtin.ping: }}\n"

ATTACKS: dict[str, tuple[bytes, set[str]]] = {
    "alias-bomb": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)),
        {"anchor", "alias"},
    ),
    "alias-of-itself": (b"a: &a [*a]\n", {"anchor", "alias"}),
    "merge-over-merge": (b"a: &a {x: 1}\nb: {<<: *a, <<: {y: 2}}\n", {"anchor", "alias", "merge-key"}),
    "duplicate-kind": (b"kind: Guardrail\nkind: Runbook\n", {"duplicate-key"}),
    "duplicate-by-escape": (b'kind: a\n"\\x6bind": b\n', {"duplicate-key"}),
    "deep-lists": (b"[" * 3000, {"too-deep"}),
    "deep-mappings": (b"{a: " * 3000, {"too-deep"}),
    "deep-keys": (b"? " * 3000, {"too-deep"}),
    "deep-blocks": (b"".join(b" " * n + b"a:\n" for n in range(500)), {"too-deep"}),
    "a-mebibyte-of-brackets": (b"[" * MIB, {"too-deep"}),
    "two-mebibytes": (b"a: " + b"x" * 2 * MIB, {"too-large"}),
    "one-byte-too-many": (b"#" * (MIB + 1), {"too-large"}),
    "python-object": (b"a: !!python/object/apply:os.system [id]\n", {"tag"}),
    "binary-tag": (b"a: !!binary aGVsbG8=\n", {"tag"}),
    "unsafe-tag": (b"a: !unsafe '{{ x }}'\n", {"tag"}),
    "tag-directive": (b"%TAG ! tag:example.org,2000:\n---\na: 1\n", {"directive"}),
    "next-line-hides-a-key": ("# harmless\u0085kind: Guardrail\n".encode(), {"line-break"}),
    "line-separator-hides-a-key": ("# harmless\u2028kind: Guardrail\n".encode(), {"line-break"}),
    "right-to-left-override": ("a: x # \u202e} :tcejer\n".encode(), {"hidden-character"}),
    "isolate-in-a-key": ('"a\u2066b": 1\n'.encode(), {"hidden-character"}),
    "zero-width-key": ("a\u200b: 1\na: 2\n".encode(), {"hidden-character"}),
    "terminal-escape": (b'a: "\x1b]0;owned\x07"\n', {"control-character"}),
    "null-byte": (b"a: 1\x00b: 2\n", {"control-character"}),
    "byte-order-mark": (b"\xef\xbb\xbfa: 1\n", {"byte-order-mark"}),
    "utf-16": ("a: 1\n".encode("utf-16"), {"not-utf-8"}),
    "overlong-utf-8": (b"a: \xc0\xaf\n", {"not-utf-8"}),
    "surrogate": (b"a: \xed\xa0\x80\n", {"not-utf-8"}),
    "endless-number": (b"a: " + b"9" * 100_000 + b"\n", {"number"}),
    "endless-hexadecimal": (b"a: 0x" + b"f" * 100_000 + b"\n", {"number"}),
    "number-beyond-all": (b"a: 1e999999999\n", {"number"}),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_reader_answers_with_a_problem(name: str) -> None:
    data, expected = ATTACKS[name]
    started = time.process_time()
    source = load_source(data, "x.yml")
    assert {problem.code for problem in source.problems} == expected
    assert time.process_time() - started < 2


TEMPLATES = {
    "deep-expression": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "long-chain": "{{ " + "1 + " * 20_000 + "1 }}",
    "endless-number": "{{ " + "9" * 20_000 + " }}",
    "deep-blocks": "{% if a %}" * 5_000,
    "deep-lists": "{{ " + "[" * 20_000 + " }}",
    "many-strings": "{{ " + "'a' ~ " * 20_000 + "'a' }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_expressions_neither_break_nor_run(name: str, tmp_path: Path) -> None:
    document = HEAD + f'    - {{id: a, task: {{ansible.builtin.debug: {{msg: "{TEMPLATES[name]}"}}}}}}\n'.encode()
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "a.yml").write_bytes(document)
    report = check_repository(open_repository(tmp_path))
    assert {problem.code for problem in report.problems} <= {"expression", "unknown-name"}


def _link_out(playbooks: Path, outside: Path) -> None:
    (playbooks / "a.yml").symlink_to(outside)


def _link_out_over_a_directory(playbooks: Path, outside: Path) -> None:
    (playbooks / "more").symlink_to(outside.parent, target_is_directory=True)


def _link_to_nothing(playbooks: Path, outside: Path) -> None:
    (playbooks / "a.yml").symlink_to(outside.parent / "missing.yml")


def _link_in_a_circle(playbooks: Path, outside: Path) -> None:
    (playbooks / "a.yml").symlink_to("b.yml")
    (playbooks / "b.yml").symlink_to("a.yml")


def _pipe(playbooks: Path, outside: Path) -> None:
    os.mkfifo(playbooks / "a.yml")


def _directory(playbooks: Path, outside: Path) -> None:
    (playbooks / "a").mkdir()
    (playbooks / "a" / "b.yml").mkdir()
    (playbooks / "c.yml").symlink_to("a", target_is_directory=True)


@pytest.mark.parametrize(
    ("place", "codes"),
    [
        (_link_out, {"outside"}),
        (_link_out_over_a_directory, {"outside"}),
        (_link_to_nothing, {"outside"}),
        (_link_in_a_circle, {"unreadable"}),
        (_pipe, {"not-a-file"}),
        (_directory, {"link"}),
    ],
)
def test_nothing_outside_or_unusual_is_read(
    place: Callable[[Path, Path], None], codes: set[str], tmp_path: Path
) -> None:
    root, outside = tmp_path / "ops", tmp_path / "outside" / "secret.yml"
    outside.parent.mkdir()
    outside.write_bytes(HEAD + TASK)
    (root / "playbooks").mkdir(parents=True)
    place(root / "playbooks", outside)
    report = check_repository(open_repository(root))
    assert {problem.code for problem in report.problems} == codes
    assert "secret" not in "".join(problem.message for problem in report.problems)


def test_a_runbook_is_not_taken_from_outside(tmp_path: Path) -> None:
    root, outside = tmp_path / "ops", tmp_path / "a.yml"
    outside.write_bytes(HEAD + TASK)
    (root / "playbooks").mkdir(parents=True)
    (root / "playbooks" / "a.yml").symlink_to(outside)
    repository = open_repository(root)
    for name in ("a", "playbooks/a.yml", "../a.yml", str(outside)):
        with pytest.raises((InvalidDocumentsError, UsageError)):
            repository.runbook(name)


def test_settings_are_not_taken_from_outside(tmp_path: Path) -> None:
    (tmp_path / "settings.yml").write_text("{apiVersion: opsascode/v1, kind: Repository, metadata: {name: a}}\n")
    root = tmp_path / "ops"
    root.mkdir()
    (root / "opsascode.yml").symlink_to(tmp_path / "settings.yml")
    with pytest.raises(InvalidDocumentsError, match="outside"):
        open_repository(root)


def test_a_broken_guardrail_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yml").write_text("kind: Guardrial\n")
    with pytest.raises(InvalidDocumentsError, match="policies cannot be used"):
        open_repository(tmp_path).policies()


def test_a_pattern_ends_where_the_text_ends(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    body = b"  parameters: {x: {type: string, pattern: '^[a-z]+$'}}\n"
    text = (
        HEAD.replace(b"  targets", body + b"  targets")
        + b'    - {id: a, task: {ansible.builtin.command: "echo {{ x }}"}}\n'
    )
    (tmp_path / "playbooks" / "a.yml").write_bytes(text)
    parameter = open_repository(tmp_path).runbook("a").parameters[0]
    assert parameter.from_text("abc").ok
    assert not parameter.from_text("abc\n").ok
    assert not parameter.from_text("abc\nrm").ok
