"""What does it cost to ask a Prometheus on this machine about 100 services?

Each has two promises over 30 days, with the usual four pairs of burn windows: 200 promises, 2,600 numbers. The history
is a sample every five minutes for 30 days and every 15 seconds for the last six hours, of five series a service: 5
million samples. Prometheus reads all of them for every answer, and takes most of the time. `python
benchmarks/slo_status.py` measures this alone; `--every 60` takes a sample every minute for all 30 days.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, contest, seconds, table, wall
from worlds import OPSASCODE, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICES = 100
_BLOCKS = 20
DAY, HOUR = 86400, 3600
_LISTENS, _READY = 'msg="Listening on" address=', "Server is ready"
_SERIES = (
    ("http_requests_total", 'code="200"', 99.9),
    ("http_requests_total", 'code="500"', 0.1),
    ("http_request_duration_seconds_bucket", 'le="0.15"', 97.0),
    ("http_request_duration_seconds_bucket", 'le="+Inf"', 100.0),
    ("http_request_duration_seconds_count", "", 100.0),
)
_POLICY = """apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {{name: {name}}}
spec:
  slo_targets: {{availability: 99.95%, latency_p95_ms: 150}}
  escalation_chain: [{{notify: team:sre}}]
"""
_SETTINGS = """apiVersion: opsascode/v1
kind: Repository
metadata: {{name: measured}}
spec: {{prometheus: {{url: "{url}"}}}}
"""


def slo_status(scratch: Path, *, every: int = 300) -> Iterator[Line]:
    """Measure `slo status` of all services, and of one; `every` is how far apart old samples are, in seconds."""
    place = new_place(scratch)
    names = [f"service-{number:03}" for number in range(SERVICES)]
    print(f"the history of {SERVICES} services …", file=sys.stderr, flush=True)
    with _prometheus(scratch / "prometheus", names, every) as url:
        policies = place.directory / "policies"
        policies.mkdir()
        (place.directory / "opsascode.yml").write_text(_SETTINGS.format(url=url))
        for name in names:
            (policies / f"{name}.yml").write_text(_POLICY.format(name=name))
        told = json.loads(place.answer(OPSASCODE, "slo", "status", "--format", "json"))
        levels = [target["level"] for each in told["services"] for target in each["targets"]]
        assert len(levels) == 2 * SERVICES, told
        assert "no_data" not in levels, told
        every_one, one, floor = contest(
            f"slo status of {SERVICES} services",
            (7, lambda: place.once(OPSASCODE, "slo", "status")),
            (7, lambda: place.once(OPSASCODE, "slo", "status", names[0])),
            (7, lambda: place.once(OPSASCODE, "--help")),
        )
    peer = f"{seconds(wall(floor))} opsascode --help"
    what = f"slo status: {SERVICES} services, {2 * SERVICES} promises of 30 days"
    yield Line(what=what, ours=seconds(wall(every_one)), peer=peer, target="< 2 s", holds=wall(every_one) < 2)
    yield Line(what="  of one of them", ours=seconds(wall(one)), peer=peer)


@contextmanager
def _prometheus(directory: Path, names: list[str], every: int) -> Iterator[str]:
    """Fill a Prometheus with a history and start it; gives its address."""
    directory.mkdir()
    settings, log = directory / "prometheus.yml", directory / "log"
    _history(directory, names, every)
    settings.write_text("{}\n")
    options = ("--storage.tsdb.retention.time=10y", "--web.listen-address=127.0.0.1:0")
    with log.open("wb") as told:
        server = subprocess.Popen(
            ("prometheus", f"--config.file={settings}", f"--storage.tsdb.path={directory / 'data'}", *options),
            stdout=told,
            stderr=told,
        )
    try:
        while _READY not in log.read_text() or _LISTENS not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        _until_compacted(directory / "data")
        yield f"http://{log.read_text().partition(_LISTENS)[2].split()[0]}"
    finally:
        server.terminate()
        server.wait()


def _until_compacted(data: Path) -> None:
    """Wait until the blocks of two hours are put together, as they are in a server that ran all the time."""
    deadline = time.monotonic() + 300
    while len(list(data.glob("*/meta.json"))) > _BLOCKS and time.monotonic() < deadline:
        time.sleep(1)


def _history(directory: Path, names: list[str], every: int) -> None:
    """Make blocks of all series; promtool reads a whole file for each two hours in it, so a file is six hours."""
    now = int(datetime.now(UTC).timestamp())
    recent = now - 6 * HOUR
    moments = [*range(now - 30 * DAY - 10 * 60, recent, every), *range(recent, now + HOUR // 2, 15)]
    spans: dict[int, list[int]] = {}
    for at in moments:
        spans.setdefault(at // (6 * HOUR), []).append(at)

    def make(span: int) -> None:
        text = directory / f"{span}.om"
        text.write_text("".join(_lines(names, spans[span], moments[0])))
        words = ("tsdb", "create-blocks-from", "openmetrics", "--quiet", text, directory / "data")
        subprocess.run(("promtool", *words), check=True, stdout=subprocess.DEVNULL)
        text.unlink()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, spans))


def _lines(names: list[str], moments: list[int], first: int) -> Iterator[str]:
    """Write the samples of all series, metric by metric, as OpenMetrics wants them."""
    for metric, label, rate in _SERIES:
        values = [f"{int((at - first) * rate)} {at}\n" for at in moments]
        for name in names:
            labels = ",".join(each for each in (f'service="{name}"', label) if each)
            head = f"{metric}{{{labels}}} "
            yield head + head.join(values)
    yield "# EOF\n"


if __name__ == "__main__":
    EVERY = int(sys.argv[2]) if sys.argv[1:2] == ["--every"] else 300
    with tempfile.TemporaryDirectory(prefix="opsascode-bench-") as place:
        print(table(tuple(slo_status(Path(place), every=EVERY))))
