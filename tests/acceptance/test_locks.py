"""Two runs never touch one host at once: the second waits or is told who holds it, also when another account does."""

from __future__ import annotations

import os
import pwd
import time
from typing import TYPE_CHECKING

from opsascode.run._locks import Held, LockBook
from tests.acceptance.runs import eventually, newest

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.world import World

SLOW = '- {id: slow, task: {ansible.builtin.shell: "touch {{ place }}/on; sleep {{ seconds }}"}}'
QUICK = '- {id: quick, task: {ansible.builtin.command: "true"}}'
PARAMETERS = "{place: {type: string}, seconds: {type: integer, default: 60}}"


def start_slow(world: World, place: Path, *words: str) -> subprocess.Popen[str]:
    (place / "on").unlink(missing_ok=True)
    process = world.start("run", "slow", "-e", f"place={place}", "-y", *words)
    eventually((place / "on").exists)
    return process


def write(world: World, **spec: str) -> None:
    world.runbook("slow", SLOW, parameters=PARAMETERS, **spec)
    world.runbook("quick", QUICK, **spec)
    world.commit()


def test_a_host_that_another_run_holds_is_refused_with_who_holds_it(world: World, tmp_path: Path) -> None:
    write(world)
    process = start_slow(world, tmp_path, "--limit", "web1")
    try:
        answer = world.ops("run", "quick", "-y")
        assert answer.code == 4
        assert "run " in answer.err
        assert "(slow)" in answer.err
        assert "holds web1" in answer.err
        assert "nothing was run" in answer.err
        assert world.ops("run", "quick", "-y", "--limit", "web2").code == 0, "other hosts are free"
        told = world.ops("run", "quick", "-y", "--format", "json")
        assert told.lines[-1]["event"] == "locked"
        assert told.lines[-1]["holders"][0]["names"][0].endswith(":web1")
        assert "web1" in world.ops("status").out
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert world.ops("run", "quick", "-y").code == 0, "and free again afterwards"


def test_a_second_run_waits_as_long_as_it_is_told(world: World, tmp_path: Path) -> None:
    write(world)
    process = start_slow(world, tmp_path, "-e", "seconds=3", "--limit", "web1")
    answer = world.ops("run", "quick", "-y", "--wait", "1m")
    assert answer.code == 0, answer.out + answer.err
    assert "waiting for run" in answer.out
    process.communicate(timeout=30)
    process = start_slow(world, tmp_path, "--limit", "web1")
    begun = time.monotonic()
    assert world.ops("run", "quick", "-y", "--wait", "1s").code == 4
    assert time.monotonic() - begun < 10
    process.terminate()
    process.communicate(timeout=30)


def test_a_named_lock_keeps_runs_apart_on_different_hosts(world: World, tmp_path: Path) -> None:
    write(world, lock="[failover]")
    process = start_slow(world, tmp_path, "--limit", "web1")
    answer = world.ops("run", "quick", "-y", "--limit", "web2")
    assert answer.code == 4
    assert "holds failover" in answer.err
    process.terminate()
    process.communicate(timeout=30)


def test_a_killed_run_does_not_keep_its_hosts(world: World, tmp_path: Path) -> None:
    write(world)
    process = start_slow(world, tmp_path, "--limit", "web1")
    process.kill()
    process.communicate()
    answer = world.ops("run", "quick", "-y", "--wait", "30s")
    assert answer.code == 0, answer.out + answer.err
    assert newest(world)["end"]["outcome"] == "succeeded"


def test_a_run_of_another_account_is_in_the_way_too(world: World, tmp_path: Path) -> None:
    write(world)
    locks = tmp_path / "locks"
    locks.mkdir()
    locks.chmod(0o1777)
    settings = (world.root / "opsascode.yml").read_text().replace(str(world.home / "locks"), str(locks))
    world.write("opsascode.yml", settings)
    world.commit()
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_uid == os.geteuid() and place.stat().st_mode & 0o011 != 0o011:
            place.chmod(place.stat().st_mode | 0o011)
    other = 65534 if os.geteuid() == 0 else os.geteuid()
    ready, release = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:  # the other account: it holds web1 as its run would, until it is told to go
        try:
            if os.geteuid() != other:
                os.setuid(other)
            held = LockBook(locks).hold("20260101-000000-abcdef", ["test-repository:web1"], "theirs")
            os.write(ready[1], b"y" if isinstance(held, Held) else b"n")
            os.read(release[0], 1)
        finally:
            os._exit(0)
    assert os.read(ready[0], 1) == b"y"
    answer = world.ops("run", "quick", "-y")
    os.write(release[1], b"x")
    os.waitpid(pid, 0)
    for descriptor in (*ready, *release):
        os.close(descriptor)
    assert answer.code == 4, answer.out + answer.err
    assert f"(theirs) of {pwd.getpwuid(other).pw_name}, process {pid}" in answer.err
    assert world.ops("run", "quick", "-y").code == 0
