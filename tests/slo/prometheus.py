"""A real Prometheus on a free loopback port, and something for it to scrape; for every test that needs numbers.

    with Exporter() as shop, running_prometheus(tmp_path, targets=[shop.address]) as prometheus:
        errors = shop.counter("http_requests_total", service="shop", code="500")
        errors.inc(7)
        prometheus.wait_for('http_requests_total{code="500"}', lambda values: values == [7.0])

Each server is one subprocess, ended by its own number; it says itself on which port it listens, so that two tests never
meet. Whatever is waited for has a deadline, long enough for a busy machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

PATIENCE = 60.0
_LISTENS = 'msg="Listening on" address='
_READY = "Server is ready to receive web requests"


@dataclass(kw_only=True)
class Prometheus:
    """A running Prometheus: `url` has no slash at its end."""

    url: str
    directory: Path
    process: subprocess.Popen[bytes]
    jobs: dict[str, list[str]] = field(default_factory=dict)
    rules: list[Path] = field(default_factory=list)
    every: str = "200ms"

    def ask(self, path: str, **words: str) -> Any:
        """Ask the HTTP API with GET and give `data`."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - our own server on the loopback
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        """The values of an instant query now, in ascending order."""
        result = self.ask("query", query=query)["result"]
        found = [result] if result and not isinstance(result[0], dict) else [each["value"] for each in result]
        return sorted(float(value) for _, value in found)

    def wait_for(
        self, query: str, predicate: Callable[[list[float]], bool] = bool, *, patience: float = PATIENCE
    ) -> list[float]:
        """Ask until the values of a query are as wanted (default: there are some), and give them."""
        deadline = time.monotonic() + patience
        found: list[float] = []
        while time.monotonic() < deadline:
            try:
                found = self.values(query)
            except (OSError, HTTPException):
                assert self.process.poll() is None, self.said()
            else:
                if predicate(found):
                    return found
            time.sleep(0.1)
        msg = f"{query} never became what was waited for; last values {found}"
        raise AssertionError(msg)

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}

    def reload(self, *, targets: Sequence[str] | None = None, rules: Sequence[Path] | None = None) -> None:
        """Read the rules again, and scrape other targets where they are given."""
        if targets is not None:
            self.jobs = {"test": list(targets)}
        if rules is not None:
            self.rules = list(rules)
        self.write()
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")  # noqa: S310 - as above
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - as above
            pass

    def write(self) -> None:
        """Write the configuration; it is JSON, which is YAML too."""
        jobs = [
            {"job_name": name, "static_configs": [{"targets": targets}]}
            for name, targets in self.jobs.items()
            if targets
        ]
        whole = {
            "global": {"scrape_interval": self.every, "scrape_timeout": self.every, "evaluation_interval": self.every},
            "rule_files": [str(path.resolve()) for path in self.rules],
            "scrape_configs": jobs,
        }
        (self.directory / "prometheus.yml").write_text(json.dumps(whole), encoding="utf-8")

    def said(self) -> str:
        """What the server wrote to its log."""
        return (self.directory / "prometheus.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End the server, as an outage of it would; more than once does nothing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=20)


@contextmanager
def running_prometheus(
    place: Path,
    *,
    targets: Sequence[str] = (),
    rules: Sequence[Path] = (),
    every: str = "200ms",
    options: Sequence[str] = (),
) -> Iterator[Prometheus]:
    """Start a Prometheus in a new directory below `place` that scrapes targets (`host:port`) and evaluates rules."""
    directory = _new_directory(place)
    started = Prometheus(
        url="", directory=directory, process=_nothing(), jobs={"test": list(targets)}, rules=list(rules), every=every
    )
    started.write()
    started.process = _start(directory, options)
    try:
        started.url = _address(started)
        yield started
    finally:
        started.stop()


@contextmanager
def backfilled_prometheus(place: Path, openmetrics: str) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes nothing and holds a history, given as OpenMetrics text with timestamps."""
    directory = _new_directory(place)
    text = directory / "history.om"
    text.write_text(openmetrics if openmetrics.endswith("# EOF\n") else f"{openmetrics}# EOF\n", encoding="utf-8")
    words = ("tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(directory / "data"))
    made = subprocess.run([_program("promtool"), *words], capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    started = Prometheus(url="", directory=directory, process=_nothing())
    started.write()
    started.process = _start(directory, ("--storage.tsdb.retention.time=10y",))
    try:
        started.url = _address(started)
        yield started
    finally:
        started.stop()


def counter_history(
    series: str,
    rate: Callable[[datetime], float],
    *,
    start: datetime,
    end: datetime,
    step: timedelta = timedelta(minutes=1),
    value: float = 0.0,
) -> str:
    """Write one counter as OpenMetrics lines: `series` such as `http_requests_total{code="500"}`, `rate` per second."""
    lines, at = [], start
    while at <= end:
        lines.append(f"{series} {value!r} {at.timestamp():.3f}")
        value += rate(at) * step.total_seconds()
        at += step
    return "\n".join(lines) + "\n"


def gauge_history(
    series: str, value: Callable[[datetime], float], *, start: datetime, end: datetime, step: timedelta
) -> str:
    """Write one gauge as OpenMetrics lines."""
    lines, at = [], start
    while at <= end:
        lines.append(f"{series} {value(at)!r} {at.timestamp():.3f}")
        at += step
    return "\n".join(lines) + "\n"


class Exporter:
    """Something to scrape: counters, gauges and histograms on a free loopback port, which can go away and come back."""

    def __init__(self) -> None:
        """Listen at once."""
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None
        self.port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """What a Prometheus is told to scrape."""
        return f"127.0.0.1:{self.port}"

    def counter(self, name: str, **labels: str) -> Any:
        """Give a counter (`.inc(n)`); the first use of a name fixes which labels it has."""
        return self._metric(Counter, name, labels)

    def gauge(self, name: str, **labels: str) -> Any:
        """Give a gauge (`.set(value)`)."""
        return self._metric(Gauge, name, labels)

    def histogram(self, name: str, buckets: Sequence[float] = (0.05, 0.1, 0.15, 0.3, 1.0), **labels: str) -> Any:
        """Give a histogram (`.observe(seconds)`)."""
        return self._metric(Histogram, name, labels, buckets=buckets)

    def _metric(self, kind: Any, name: str, labels: dict[str, str], **more: Any) -> Any:
        if name not in self._metrics:
            self._metrics[name] = kind(name, "for a test", sorted(labels), registry=self._registry, **more)
        return self._metrics[name].labels(**labels) if labels else self._metrics[name]

    def forget(self, name: str) -> None:
        """Take a metric away, as a release does that no longer has it."""
        self._registry.unregister(self._metrics.pop(name))

    def start(self) -> None:
        """Listen, after a stop at the same port as before."""
        if self._server is None:
            self._server, self._thread = start_http_server(self.port, addr="127.0.0.1", registry=self._registry)
            self.port = self._server.server_port

    def stop(self) -> None:
        """Listen no longer, as an outage of the exporter."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=PATIENCE)
            self._server = self._thread = None


def _new_directory(place: Path) -> Path:
    number = 1
    while (place / f"prometheus-{number}").exists():
        number += 1
    directory = place / f"prometheus-{number}"
    directory.mkdir(parents=True)
    return directory


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, "install Debian's prometheus (make test does)"
    return found


def _nothing() -> subprocess.Popen[bytes]:
    """Stand in for a server until it is started."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process


def _start(directory: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    with (directory / "prometheus.log").open("wb") as log:
        return subprocess.Popen(
            [
                _program("prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--web.enable-lifecycle",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _address(started: Prometheus) -> str:
    """Wait until the server is ready, and give the address that it says it listens on."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        said = started.said()
        assert started.process.poll() is None, said
        if _READY in said and _LISTENS in said:
            return f"http://{said.partition(_LISTENS)[2].split()[0]}"
        time.sleep(0.05)
    raise AssertionError(started.said())
