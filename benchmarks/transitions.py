"""What does it cost to judge a change of the policies, where the past is long and the policies are many?

The repository has 20,000 commits over 500 policies, then a trust root of three people with keys from `ssh-keygen`. What
is judged are stricter policies, a way forward which one person approved: so nothing is refused early, and the whole
past is looked at. Beside it, in the same minutes: what Git itself takes to list that past, a push without the hook, and
the same difference as Git writes it.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, contest, seconds, wall
from transition_repository import make
from worlds import OPSASCODE, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from measure import Cost, Place

HERE = Path(__file__).parent
COMMITS, POLICIES, PUSHES = 20_000, 500, 7
PEOPLE = ("alice", "bob", "carol")
_LIMIT = re.compile(r"max_hosts: (\d+)")


def transitions(scratch: Path) -> Iterator[Line]:
    place = new_place(scratch / "transitions")
    root = _begin(place)
    yield from _verify(place, root)
    yield from _push(place, root)
    yield from _difference(place)


def approvals(scratch: Path) -> Iterator[Line]:
    """Measure inside one process, by pytest-benchmark."""
    print("approvals …", file=sys.stderr, flush=True)
    report = scratch / "approvals.json"
    words = ("-p", "no:randomly", "-q", f"--benchmark-json={report}", f"--basetemp={scratch / 'pytest-approvals'}")
    subprocess.run(
        [sys.executable, "-m", "pytest", HERE / "test_approvals.py", *words],
        cwd=HERE.parent,
        check=True,
        capture_output=True,
    )
    found = json.loads(report.read_text())["benchmarks"]
    yield from _of_approvals({each["name"].removeprefix("test_"): each["stats"]["median"] for each in found})


def _of_approvals(median: Mapping[str, float]) -> Iterator[Line]:
    floor, keygen = median["floor_verify"], median["ssh_keygen_verify"]
    for what, name in (
        ("approval of a change: verify", "approval_of_a_change"),
        ("  signed by a security key", "approval_by_a_token"),
        ("  of a run", "approval_of_a_run"),
    ):
        yield Line(
            what=what,
            ours=seconds(median[name]),
            peer=f"{seconds(floor)} one Ed25519 verification",
            ratio=f"{median[name] / floor:.1f}",
            target="< 1 ms",
            holds=median[name] < 0.001,
        )
    ours = median["approval_of_a_change"]
    peer = f"{seconds(keygen)} ssh-keygen -Y verify"
    yield Line(what="  against ssh-keygen", ours=seconds(ours), peer=peer, ratio=f"{keygen / ours:.0f} x faster")


def _begin(place: Place) -> str:
    """Make the repository with its past, then the trust root; give the digest to pin."""
    bare, keys = place.scratch / "past.git", place.scratch / "keys"
    make(bare, commits=COMMITS, policies=POLICIES)
    place.answer("git", "clone", "--quiet", str(bare), str(place.directory))
    for name, value in (("user.name", "Dave Example"), ("user.email", "dave@example.org"), ("gc.auto", "0")):
        place.answer("git", "config", name, value)
    keys.mkdir()
    for name in PEOPLE:
        place.answer("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(keys / name))
    people = [word for name in PEOPLE for word in ("--person", f"{name}={keys / name}.pub")]
    people += [word for name in PEOPLE for word in ("--email", f"{name}={name}@example.org")]
    first, second = ((*("--as", name), *("--key", str(keys / name)), "-y") for name in PEOPLE[:2])
    place.answer(OPSASCODE, "trust", "init", *people, *first)
    place.answer(OPSASCODE, "trust", "sign", *second)
    _commit(place, "the trust root")
    shown = json.loads(place.answer(OPSASCODE, "trust", "show", "--format", "json"))
    place.answer(OPSASCODE, "trust", "pin", str(shown["repository"]))
    return str(shown["repository"])


def _commit(place: Place, message: str) -> str:
    place.answer("git", "add", "--all")
    place.answer("git", "commit", "--quiet", "--message", message)
    return place.answer("git", "rev-parse", "HEAD").strip()


def _stricter(place: Place, least: int, most: int, by: int) -> str:
    """Lower one limit of some policies to a value it never had, and commit."""
    for number in range(least, most):
        path = place.directory / f"policies/team-{number % 25}/policy-{number}.yml"
        path.write_text(_LIMIT.sub(lambda found: f"max_hosts: {int(found[1]) - by}", path.read_text()))
    return _commit(place, f"{most - least} policies are stricter by {by}")


def _approve(place: Place, what: str) -> None:
    key = place.scratch / "keys" / PEOPLE[1]
    place.answer(OPSASCODE, "approve", what, "--as", PEOPLE[1], "--key", str(key), "-y")


def _verify(place: Place, root: str) -> Iterator[Line]:
    place.answer("git", "switch", "--quiet", "-c", "next", "main")
    _stricter(place, 0, 1, 1)
    _approve(place, "next")
    words = ("policy", "verify", "--base", "main", "--head", "next", "--root", root)
    past = ("git", "log", "--first-parent", "-m", "--raw", "-z", "--no-abbrev", "--format=%H", "main")
    place.answer(OPSASCODE, *words)

    def cold() -> Cost:
        shutil.rmtree(place.environment["XDG_CACHE_HOME"], ignore_errors=True)
        return place.once(OPSASCODE, *words)

    def again() -> Cost:
        return place.once(OPSASCODE, *words)

    first, known, peer, floor = contest(
        f"a transition over {COMMITS:,} commits",
        (5, cold),
        (5, again),
        (5, lambda: place.once(*past)),
        (5, lambda: place.once(OPSASCODE, "--help")),
    )
    yield from _judge(place, root)
    yield Line(
        what="policy verify: 20,000 commits, 500 policies, cold",
        ours=seconds(wall(first)),
        peer=f"{seconds(wall(peer))} git log --first-parent --raw",
        ratio=f"{wall(first) / wall(peer):.1f}",
        target="< 2 s",
        holds=wall(first) < 2,
    )
    yield Line(
        what="  with the index",
        ours=seconds(wall(known)),
        peer=f"{seconds(wall(floor))} opsascode --help",
        ratio=f"{wall(known) / wall(floor):.1f}",
        target="< 0.2 s",
        holds=wall(known) < 0.2,
    )


def _judge(place: Place, root: str) -> Iterator[Line]:
    """Judge in a process that has imported everything already, as a server that stays would."""
    cache = place.scratch / "judge"
    words = (sys.executable, str(HERE / "judge_transition.py"), str(place.directory), "main", "next", root, str(cache))
    cold, again = [], []
    for _ in range(5):
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        cold.append(float(place.answer(*words)))
        again.append(float(place.answer(*words)))
    for what, took, most in (
        ("a transition: 20,000 commits, 500 policies, judged cold", statistics.median(cold), 2.0),
        ("  with the index", statistics.median(again), 0.2),
    ):
        yield Line(what=what, ours=seconds(took), target=f"< {most:g} s", holds=took < most)


def _push(place: Place, root: str) -> Iterator[Line]:
    """Push the same commits, one after the other, to a server with the hook and to one without."""
    start = place.answer("git", "rev-parse", "main").strip()
    commits = []
    for number in range(PUSHES):
        place.answer("git", "switch", "--quiet", "-c", f"pushed-{number}", "main")
        commits.append(_stricter(place, number, number + 1, 2))
        _approve(place, f"pushed-{number}")
        place.answer("git", "branch", "--quiet", "--force", "main", commits[-1])
    servers = {name: place.scratch / f"{name}.git" for name in ("judged", "plain")}
    for server in servers.values():
        place.answer("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(server))
        refs = (f"{start}:refs/heads/main", "refs/opsascode/attestations:refs/opsascode/attestations")
        place.answer("git", "push", "--quiet", str(server), *refs)
    place.answer(OPSASCODE, "policy", "hook", "install", str(servers["judged"]), "--root", root)
    left = {name: iter(commits) for name in servers}

    def push(name: str) -> Cost:
        return place.once("git", "push", "--quiet", f"file://{servers[name]}", f"{next(left[name])}:refs/heads/main")

    judged, plain = contest("push", (PUSHES, lambda: push("judged")), (PUSHES, lambda: push("plain")))
    for server in servers.values():
        assert place.answer("git", "-C", str(server), "rev-parse", "main").strip() == commits[-1]
    floor = wall(plain)
    for what, more in (
        ("pre-receive: what it adds to a push", wall(judged) - floor),
        ("  to the first push", judged[0].wall - floor),
        ("  to the slowest of the others", max(cost.wall for cost in judged[1:]) - floor),
    ):
        yield Line(
            what=what,
            ours=seconds(more),
            peer=f"{seconds(floor)} git push without it",
            target="< 1 s",
            holds=more < 1,
        )


def _difference(place: Place) -> Iterator[Line]:
    place.answer("git", "switch", "--quiet", "-c", "all", "main")
    after = _stricter(place, 0, POLICIES, 3)
    before = place.answer("git", "rev-parse", "main").strip()
    words = ("policy", "diff", "--from", f"commit:{before}", "--to", f"commit:{after}")
    ours, plain = contest(
        f"the difference of {POLICIES} policies",
        (5, lambda: place.once(OPSASCODE, *words)),
        (5, lambda: place.once("git", "diff", before, after, "--", "policies")),
    )
    told = place.answer(OPSASCODE, *words, "--format", "json")
    assert told.count("max_hosts") >= POLICIES, told[:2000]
    yield Line(
        what=f"policy diff of {POLICIES} documents, all different",
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(plain))} git diff",
        ratio=f"{wall(ours) / wall(plain):.1f}",
        target="< 1 s",
        holds=wall(ours) < 1,
    )
