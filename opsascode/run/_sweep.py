"""What may still run on the hosts of a stage that was broken off, and how is it found there and ended?

Ansible ends its own local processes; what they started on another host goes on. Each task's processes carry its mark in
their environment (the callback put it there). A second, very short start of Ansible looks for the marks of the tasks in
doubt on the hosts in doubt, and nowhere else: SIGTERM, then SIGKILL at the end of the grace, to the marked processes
and all below them. What an earlier, completed task started on purpose has another mark and is left alone.

It cannot be told what became of a task when its host is out of reach, is no Linux, or when the task was `raw`, which
takes no environment; and a process that cleared its environment and detached from its parents is not found.

Not here: starting Ansible (`_sweeper`), and what follows for the outcome (`_verdict`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.run._journal import HostBegan, HostResult, HostStatus, Started, TaskStarted, stream_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from opsascode.run._journal import JournalEvent

JOURNAL_NAME: Final = "journal.jsonl"
SWEEP_NAME: Final = "sweep.json"
MARK_VARIABLE: Final = "OPSASCODE_TASK"
SHORTEST_NOTICE: Final = 0.5
_PLAIN, _BECOME = "plain", "become"
_BAD: Final = frozenset({HostStatus.FAILED, HostStatus.IGNORED, HostStatus.UNREACHABLE})
_MARK: Final = re.compile(r"[0-9a-f]+\.[0-9a-f-]+")
_ANSWER: Final = re.compile(r"^opsascode-sweep (quiet|rest|blind) (\d+) (\d+)\s*$", re.MULTILINE)
_UNTRACED: Final = "what it began there leaves no trace"
_SILENT: Final = "it did not answer"
_SCRIPT: Final = r"""
marks='{{ opsascode_marks[inventory_hostname] }}'
left={{ (([[opsascode_deadline - now().timestamp(), opsascode_notice] | max, opsascode_longest] | min) * 10) | int }}
user=$(id -u)
tell() { echo "opsascode-sweep $1 $user $2"; exit 0; }
[ -r /proc/self/environ ] && [ -r /proc/self/stat ] && [ -r /proc/uptime ] || tell blind 0
patterns=
for mark in $marks; do patterns="$patterns -e OPSASCODE_TASK=$mark"; done
known=' '
nap() { sleep 0.1 2>/dev/null || sleep 1; }
clock() { read -r now rest < /proc/uptime; now=${now%.*}${now#*.}; }
look() {
  all=
  for place in /proc/[0-9]*; do
    { read -r line < "$place/stat"; } 2>/dev/null || continue
    set -f; set -- ${line##*) }; set +f
    case "$1" in ''|Z|X) continue ;; esac
    all="$all ${place#/proc/}:$2:${20}"
  done
  hits=' '
  for file in $(grep -lF $patterns /proc/[0-9]*/environ 2>/dev/null); do
    file=${file#/proc/}; hits="$hits${file%/environ} "
  done
  live=' ' found=' ' more=1
  while [ "$more" ]; do
    more=
    for each in $all; do
      pid=${each%%:*} rest=${each#*:}
      case "$live" in *" $pid "*) continue ;; esac
      case "$hits" in *" $pid "*) ;; *)
        case "$known" in *" $pid:${rest#*:} "*) ;; *)
          case "$live" in *" ${rest%%:*} "*) ;; *) continue ;; esac ;; esac ;; esac
      live="$live$pid " found="$found$pid:${rest#*:} " more=1
    done
  done
  known=$found
  [ "$live" != ' ' ] || tell quiet 0
}
count() { set -- $live; total=$#; }
reachable() { for pid in $live; do kill -0 $pid 2>/dev/null && return 0; done; return 1; }
told=' '
clock; end=$((now + left * 10))
look
while reachable; do
  for pid in $live; do
    case "$told" in *" $pid "*) ;; *)
      told="$told$pid "; kill -TERM $pid 2>/dev/null; kill -CONT $pid 2>/dev/null ;; esac
  done
  clock; [ "$now" -lt "$end" ] || break
  nap; look
done
tries=50
while reachable && [ "$tries" -gt 0 ]; do
  for pid in $live; do kill -KILL $pid 2>/dev/null; done
  tries=$((tries - 1)); nap; look
done
count; tell rest $total
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A task that began on a host and may still run there; `become` is None when it is not known.

    `given_up` says that Ansible itself ended it here, because its time ran out.
    """

    task: str
    host: str
    place: str
    mark: str
    traced: bool
    local: bool
    become: bool | None
    given_up: bool = False

    @property
    def sought(self) -> bool:
        """Whether it can and must be looked for on another host."""
        return self.traced and not self.local and bool(self.place)


def find_doubts(events: Iterable[JournalEvent], *, late: int | None = None) -> tuple[Doubt, ...]:
    """Find the tasks that began and of which it is not certain that they ended.

    A result says so, unless it is that time ran out, or it is bad news from a place that was being stopped: `late` is
    the number of the first event after the wish to stop.
    """
    ident = ""
    tasks: dict[str, TaskStarted] = {}
    open_: dict[tuple[str, str], HostBegan] = {}
    given_up: set[tuple[str, str]] = set()
    for event in events:
        match event:
            case Started():
                ident = event.ident
            case TaskStarted():
                tasks[event.task] = event
            case HostBegan():
                open_[event.task, event.host] = event
            case HostResult() if event.timed_out:
                given_up.add((event.task, event.host))
            case HostResult() if late is None or event.seq < late or event.status not in _BAD:
                open_.pop((event.task, event.host), None)
            case _:
                pass
    return tuple(
        Doubt(
            task=began.task,
            host=began.host,
            place=began.place,
            mark=f"{ident}.{began.task}",
            traced=tasks[began.task].traced,
            local=began.local,
            become=tasks[began.task].become,
            given_up=(began.task, began.host) in given_up,
        )
        for began in open_.values()
        if began.task in tasks
    )


def left_by_others(leftovers: Iterable[tuple[str, str]]) -> tuple[Doubt, ...]:
    """Give the tasks an earlier stage left behind as doubts; a text that is no mark is none."""
    return tuple(
        Doubt(task=mark, host=host, place=host, mark=mark, traced=True, local=False, become=None)
        for host, mark in leftovers
        if _MARK.fullmatch(mark)
    )


def leftovers(directory: Path) -> tuple[tuple[str, str], ...]:
    """Give the tasks (host, mark) that may still run on other hosts after the stage in `directory` was killed.

    What the stage itself made sure of before it ended is not among them. Raises OSError when there is no journal.
    """
    doubts = find_doubts(stream_journal(directory / JOURNAL_NAME))
    quiet = _known_quiet(directory)
    found = ((doubt.place, doubt.mark) for doubt in doubts if doubt.sought)
    return tuple(dict.fromkeys(each for each in found if each not in quiet))


def _known_quiet(directory: Path) -> set[tuple[str, str]]:
    try:
        told = json.loads((directory / SWEEP_NAME).read_bytes())
        return {(place, mark) for place, mark in told["quiet"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def untraceable(doubts: Iterable[Doubt]) -> dict[str, str]:
    """Give the places where a task in doubt cannot be looked for, and why."""
    return {
        doubt.place or f"the host {doubt.host} delegated to": _UNTRACED
        for doubt in doubts
        if not doubt.local and not doubt.sought
    }


def sweep_playbook(doubts: Iterable[Doubt], *, deadline: float, longest: float) -> bytes:
    """Give the playbook that ends what runs of the doubts; `deadline` (a time of the clock) is when SIGKILL is due."""
    marks: dict[str, dict[str, None]] = {}
    become: dict[str, bool] = {}
    for doubt in doubts:
        marks.setdefault(doubt.place, {})[doubt.mark] = None
        become[doubt.place] = become.get(doubt.place, False) or doubt.become is not False
    again = (
        f"opsascode_said_{_PLAIN}.stdout | default('') is not search('opsascode-sweep quiet') or "
        f"(opsascode_become[inventory_hostname] and {_not_root()})"
    )
    play = {
        "name": "sweep",
        "hosts": "all",
        "gather_facts": False,
        "strategy": "ansible.builtin.free",
        "ignore_errors": True,
        "ignore_unreachable": True,
        "vars": {
            "opsascode_marks": {place: " ".join(each) for place, each in marks.items()},
            "opsascode_become": become,
            "opsascode_deadline": deadline,
            "opsascode_longest": max(longest, SHORTEST_NOTICE),
            "opsascode_notice": SHORTEST_NOTICE,
            "opsascode_script": _SCRIPT,
        },
        "tasks": [_task(_PLAIN, longest), {**_task(_BECOME, longest), "become": True, "when": again}],
    }
    return json.dumps([play]).encode()


def _not_root() -> str:
    return f"opsascode_said_{_PLAIN}.stdout | default('') is not search('opsascode-sweep quiet 0 ')"


def _task(name: str, longest: float) -> dict[str, object]:
    return {
        "name": name,
        "ansible.builtin.raw": "{{ opsascode_script }}",
        "args": {"executable": "/bin/sh"},
        "register": f"opsascode_said_{name}",
        "changed_when": False,
        "check_mode": False,
        "diff": False,
        "timeout": int(longest) + 12,
    }


def unconfirmed(doubts: Iterable[Doubt], events: Iterable[JournalEvent]) -> dict[str, str]:
    """Give the places where, by the journal of the sweep, something may still run, and why it is thought so."""
    answers: dict[str, dict[str, HostResult]] = {}
    names: dict[str, str] = {}
    for event in events:
        if isinstance(event, TaskStarted):
            names[event.task] = event.name
        elif isinstance(event, HostResult):
            answers.setdefault(event.host, {})[names[event.task]] = event
    found = {}
    for doubt in doubts:
        why = _why(answers.get(doubt.place, {}), become=doubt.become)
        if why:
            found[doubt.place] = why
    return found


def _why(answers: Mapping[str, HostResult], *, become: bool | None) -> str:
    """Why it is not certain that nothing runs on; empty when it is."""
    plain, again = answers.get(_PLAIN), answers.get(_BECOME)
    if plain is None:
        return _SILENT
    said, user, count = _answer(plain)
    seen, _, rest = _answer(again) if again else ("", "", "")
    if seen == "quiet" or (said == "quiet" and (user == "0" or not become)):
        return ""
    if said == "rest" or seen == "rest":
        return f"{rest or count} of its processes could not be ended"
    return {
        "": f"it could not be reached: {plain.message or _SILENT}",
        "blind": "its processes cannot be seen",
        "quiet": f"what another user runs there could not be seen: {again.message if again else _SILENT}",
    }[said]


def _answer(result: HostResult) -> tuple[str, str, str]:
    answer = _ANSWER.search(result.output.text) if result.output else None
    return (answer[1], answer[2], answer[3]) if answer else ("", "", "")
