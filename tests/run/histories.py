"""A machine with a past: real records, signed by a real key, in a real ledger, with the files that runs leave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from opsascode.proof import PREDICATE_PREFIX, LedgerReader, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run import History, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from opsascode.proof import Signer

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is to be recorded about one run."""

    run: str
    runbook: str = "restart"
    mode: str = "run"
    outcome: str | None = "succeeded"
    hosts: Mapping[str, str] = field(default_factory=lambda: {"web1": "changed"})
    started: datetime = BEGIN
    seconds: float = 10
    continues: str | None = None
    undoes: str | None = None
    texts: Sequence[str] = ()


class Machine:
    """A state directory with a key, a ledger and runs."""

    def __init__(self, directory: Path) -> None:
        self.state = State(directory=directory, key_uri=f"file:{directory / 'keys' / 'machine'}", key_base=directory)
        self.signer: Signer = self.state.signer({})

    def append(self, kind: str, name: str, predicate: Mapping[str, Any], subject: bytes = b"plan") -> int:
        statement = Statement(
            predicate_type=f"{PREDICATE_PREFIX}{kind}:v1",
            subject_name=name,
            subject_digest=sha256_digest(subject),
            predicate=predicate,
        )
        with self.state.ledger(self.signer) as ledger:
            return ledger.append(seal(statement, self.signer)).index

    def record(self, *runs: Told) -> None:
        for run in runs:
            self.begin(run)
            if run.outcome is not None:
                self.end(run)

    def begin(self, told: Told) -> None:
        directory = self.directory(told.run)
        directory.mkdir(parents=True, mode=0o700)
        plan = self._plan(told)
        (directory / "plan.json").write_bytes(plan)
        start = {
            **self._about(told),
            "plan": sha256_digest(plan),
            "continues": told.continues,
            "undoes": told.undoes,
            "trigger": "manual",
            "actor": {"user": "alex", "machine": "control", "detail": ""},
            "tools": {"opsascode": "0.1.0", "ansible_core": "2.19.0", "ansible_runner": "2.4.3", "python": "3.11.0"},
            "started": stamp(told.started),
        }
        self.append("run-start", told.run, start)

    def end(self, told: Told) -> None:
        directory = self.directory(told.run)
        ended = told.started + timedelta(seconds=told.seconds)
        stage = directory / "forward-1.1"
        stage.mkdir()
        journal = self._journal(told, stage, ended)
        (stage / "journal.jsonl").write_bytes(journal)
        (stage / "output.log").write_text("what Ansible printed\n")
        (stage / "playbook.yml").write_text("---\n")
        stages = [{
            "phase": "forward", "stage": "1.1", "wave": 1, "playbook": sha256_digest(b"---\n"),
            "journal": sha256_digest(journal), "outcome": told.outcome, "reason": "",
        }]  # fmt: skip
        results = canonical_bytes({
            "format": "opsascode/results/v1", "run": told.run, "outputs": {}, "stages": stages,
            "hosts": {host: [self._step(told, status, ended)] for host, status in told.hosts.items()},
        })  # fmt: skip
        (directory / "results.json").write_bytes(results)
        (directory / "receipt.json").write_text("{}")
        end = {
            **self._about(told), "plan": sha256_digest(self._plan(told)), "outcome": told.outcome, "reason": "so it was",
            "undone": False, "in_doubt": [], "started": stamp(told.started), "ended": stamp(ended), "stages": stages,
            "results": {"digest": sha256_digest(results), "bytes": len(results)},
        }  # fmt: skip
        self.append("run-end", told.run, end)

    def directory(self, run: str) -> Path:
        return self.state.run_directory(run)

    @property
    def segment(self) -> Path:
        return max((self.state.ledger_directory / "segments").iterdir())

    @property
    def table(self) -> Path:
        return self.state.directory / "history.sqlite"

    def history(self, *, indexed: bool = True) -> History:
        keys = self.state.public_keys({})
        return History(self.state, LedgerReader.read(self.state.ledger_directory, keys=keys), indexed=indexed)

    def _about(self, told: Told) -> dict[str, Any]:
        return {
            "run": told.run,
            "runbook": {"name": told.runbook, "version": "1", "title": "Restart", "path": "playbooks/x.yml"},
            "repository": {"commit": None, "dirty": False},
            "inventory": {"sources": ["inventory.yml"], "digest": sha256_digest(b""), "total": 4},
            "targets": {"pattern": "web", "limit": None, "hosts": len(told.hosts), "waves": 1},
            "parameters": {},
            "mode": told.mode,
        }

    def _plan(self, told: Told) -> bytes:
        steps = [{"id": "restart", "title": "Restart", "kind": "task"}]
        return canonical_bytes({**self._about(told), "waves": [list(told.hosts)], "steps": steps})

    def _step(self, told: Told, status: str, ended: datetime) -> dict[str, Any]:
        return {
            "step": "restart", "status": status, "message": "said", "rc": 0,
            "started": stamp(told.started), "ended": stamp(ended),
        }  # fmt: skip

    def _journal(self, told: Told, stage: Path, ended: datetime) -> bytes:
        """Write what Ansible's callback writes; a text longer than 8 KiB is kept beside it, whole."""
        events: list[dict[str, Any]] = [
            {"event": "start", "ident": "0" * 32, "ansible": "2.19.0", "python": "3.11.0"},
            {"event": "task", "task": "t1", "step": "restart", "name": "restart | Restart", "action": "command"},
        ]
        texts = [*told.texts, *["ok"] * (len(told.hosts) - len(told.texts))]
        for (host, status), text in zip(told.hosts.items(), texts, strict=True):
            whole = text.encode()
            digest = hashlib.sha256(whole).hexdigest()
            if len(whole) > 8192:
                (stage / "texts").mkdir(exist_ok=True)
                (stage / "texts" / digest).write_bytes(whole)
            events.append({
                "event": "host", "task": "t1", "step": "restart", "host": host, "status": status, "message": "said",
                "rc": 0, "output": {"text": text[:8192], "bytes": len(whole), "sha256": digest},
                "started": stamp(told.started), "ended": stamp(ended),
            })  # fmt: skip
        events.append({"event": "end", "hosts": {}})
        return b"".join(canonical_bytes({"seq": seq, **event}) + b"\n" for seq, event in enumerate(events))


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
