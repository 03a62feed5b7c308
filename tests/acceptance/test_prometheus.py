"""A `prometheus` check asks a real Prometheus, and no data is never a pass."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


def has_data(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query=up", timeout=2) as answer:
            return b'"1"' in answer.read()
    except OSError:
        return False


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Prometheus that watches itself, on a port of its own."""
    place: Path = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (place / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    program = shutil.which("prometheus")
    assert program, "install Debian's prometheus (make test does)"
    server = subprocess.Popen(
        [program, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not has_data(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, prometheus: int) -> World:
    world = new_world(tmp_path_factory.mktemp("watched") / "home")
    world.write("opsascode.yml", f"""
        apiVersion: opsascode/v1
        kind: Repository
        metadata: {{name: watched}}
        spec: {{inventory: inventories/local.yml, prometheus: {{url: "http://127.0.0.1:{prometheus}"}}}}
        """)  # fmt: skip
    return world


@pytest.mark.parametrize(
    ("query", "expect", "passes"),
    [
        ('up{job="self"}', "== 1", True),
        ('up{job="self"}', "> 1", False),
        ('up{job="nobody"}', ">= 0", False),
        ("scalar(vector(7))", "> {{ floor }}", True),
        ("vector(7)", "< {{ floor }}", False),
        ("vector(0) / vector(0)", "!= 5", False),
        ("this is no query", "> 0", False),
    ],
)
def test_a_query_is_compared_with_what_is_expected(watched: World, query: str, expect: str, *, passes: bool) -> None:
    parameters = {"parameters": "{floor: {type: number, default: 5}}"} if "floor" in expect else {}
    watched.runbook("query", f"- id: look\n  check: {{prometheus: '{query}', expect: '{expect}'}}",
                    targets="{hosts: web1}", **parameters)  # fmt: skip
    answer = watched.ops("run", "query", "-y")
    assert answer.code == (0 if passes else 1), answer.out + answer.err


def test_a_prometheus_check_without_an_address_is_told_before_the_start(world: World) -> None:
    world.runbook("query", "- id: look\n  check: {prometheus: up, expect: '> 0'}")
    answer = world.ops("plan", "query")
    assert answer.code == 3
    assert "prometheus" in answer.err
