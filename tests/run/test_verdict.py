"""The verdict is a table: what was seen on the left, what may be said of it on the right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opsascode.run._journal import HostCounts, Journal
from opsascode.run._verdict import Ending, Outcome, judge

OK, BAD, GONE = HostCounts(ok=1), HostCounts(ok=1, failures=1), HostCounts(unreachable=1)
JOURNAL = Journal(
    digest="sha256:00", events=9, tasks=2, results=4, batch_hosts=2, only_once=False, ended=True,
    hosts={"a": HostCounts(ok=2, changed=1), "b": OK}, torn=False, fault="",
)  # fmt: skip
EMPTY = replace(JOURNAL, events=0, tasks=0, results=0, batch_hosts=0, only_once=True, ended=False, hosts={})
CUT = replace(JOURNAL, ended=False)
DONE, STOPPED = Ending(rc=0), Ending(rc=None, stopped="it was canceled")
RESCUED = replace(JOURNAL, hosts={"a": HostCounts(ok=1, rescued=1), "b": HostCounts(ok=1, ignored=1)})
ONE_BAD = replace(JOURNAL, hosts={"a": BAD, "b": OK})
ONE_GONE = replace(JOURNAL, hosts={"a": OK, "b": GONE})
SAME, STRANGER = "2 hosts done, 0 changed", "hosts took part that were not meant to: c"
NO_END = " before its end was written down"
SILENT, MAY_RUN = {"b": "it did not answer"}, "something may still run on b (it did not answer)"
S, F, C, X = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELED, Outcome.INDETERMINATE

TABLE = {
    "all is well": (DONE, JOURNAL, S, "2 hosts done, 1 changed"),
    "failures were rescued or ignored": (DONE, RESCUED, S, SAME),
    "one host did it for all": (DONE, replace(JOURNAL, hosts={"a": OK}, only_once=True), S, SAME),
    "a host failed": (Ending(rc=2), ONE_BAD, F, "1 host failed: a"),
    "a host failed though Ansible is content": (DONE, ONE_BAD, F, "1 host failed: a"),
    "a host was out of reach": (Ending(rc=4), ONE_GONE, F, "1 host could not be reached: b"),
    "later hosts were not begun": (Ending(rc=2), replace(JOURNAL, hosts={"a": BAD}), F, "1 host failed: a"),
    "Ansible refused": (Ending(rc=4, refusal="no such role"), EMPTY, F, "no such role"),
    "Ansible refused without a word": (Ending(rc=1), EMPTY, F, "Ansible refused to start (exit code 1)"),
    "no host took part": (DONE, replace(EMPTY, ended=True), F, "no host took part: nothing was done"),
    "canceled": (STOPPED, CUT, C, "it was canceled"),
    "canceled in the middle of a line": (STOPPED, replace(CUT, torn=True), C, "it was canceled"),
    "canceled after the end": (replace(DONE, stopped="it was canceled"), JOURNAL, S, "2 hosts done, 1 changed"),
    "canceled but something runs on": (replace(STOPPED, down=False), CUT, X, "it could not be stopped"),
    "done but something runs on": (replace(DONE, down=False), JOURNAL, X, "it could not be stopped"),
    "canceled with a gap": (STOPPED, replace(CUT, fault="event 2 is missing"), X, "it was canceled, and the"),
    "the child vanished": (Ending(rc=None, broken="it vanished"), JOURNAL, X, "it vanished"),
    "a gap": (DONE, replace(JOURNAL, fault="event 2 is missing"), X, "the journal is damaged: event 2 is missing"),
    "a torn line": (DONE, replace(JOURNAL, torn=True), X, "the journal is damaged: its last"),
    "a gap beside a failure": (Ending(rc=2), replace(ONE_BAD, fault="gap"), X, "the journal is damaged: gap"),
    "no end, no failure": (DONE, CUT, X, f"Ansible ended with exit code 0{NO_END}"),
    "no end and killed": (Ending(rc=None), CUT, X, f"Ansible was killed{NO_END}"),
    "no end after tasks": (Ending(rc=1, refusal="boom"), CUT, X, f"Ansible ended with exit code 1{NO_END}: boom"),
    "nothing at all, exit code 0": (DONE, EMPTY, X, "Ansible ended with exit code 0 before"),
    "a host is missing": (DONE, replace(JOURNAL, hosts={"a": OK}), X, "no result came from b"),
    "a play without tasks": (DONE, replace(EMPTY, ended=True, batch_hosts=2), X, "no result came from a, b"),
    "a stranger took part": (DONE, replace(JOURNAL, hosts={"a": OK, "b": OK, "c": OK}), X, STRANGER),
    "a stranger failed": (Ending(rc=2), replace(JOURNAL, hosts={"a": OK, "b": OK, "c": BAD}), X, STRANGER),
    "exit code without failure": (Ending(rc=2), JOURNAL, X, "Ansible ended with exit code 2, though"),
    "canceled but a host is silent": (replace(STOPPED, unswept=SILENT), CUT, X, f"it was canceled; {MAY_RUN}"),
    "failed but a host is silent": (Ending(rc=2, unswept=SILENT), ONE_BAD, X, f"1 host failed: a; {MAY_RUN}"),
    "done but a host is silent": (replace(DONE, unswept=SILENT), JOURNAL, X, f"2 hosts done, 1 changed; {MAY_RUN}"),
    "leftovers resist": (Ending(rc=None, unready="b: 2 of"), EMPTY, F, "nothing was begun, for what an earlier run"),
    "killed after the end": (Ending(rc=None), JOURNAL, X, "Ansible was killed, though"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_verdict(name: str) -> None:
    ending, journal, outcome, reason = TABLE[name]
    verdict = judge(ending, journal, ("a", "b"))
    assert (verdict.outcome, verdict.reason[: len(reason)]) == (outcome, reason)


def test_many_hosts_are_named_by_the_first_few() -> None:
    hosts = tuple(f"h{number}" for number in range(9))
    journal = replace(JOURNAL, hosts=dict.fromkeys(hosts, BAD))
    assert judge(Ending(rc=2), journal, hosts).reason == "9 hosts failed: h0, h1, h2 and 6 more"
