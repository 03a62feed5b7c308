"""`slo status` and `slo report` through the installed command, against a real Prometheus with two days of history."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.slo.hostile import hostile, says
from tests.slo.prometheus import Prometheus, backfilled_prometheus, counter_history
from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0, second=0) - timedelta(minutes=5)
DAYS = timedelta(days=2)
MINUTE = timedelta(minutes=1)
AT = NOW.isoformat()

POLICY = """
    apiVersion: opsascode/v1
    kind: ReliabilityPolicy
    metadata: {{name: {name}}}
    spec:
      window: 2d
      slo_targets: {{availability: {target}}}
      escalation_chain: [{{notify: team:sre}}]
    """


def history() -> str:
    def series(service: str, code: str, rate: float, until: datetime = NOW) -> str:
        name = f'http_requests_total{{service="{service}",code="{code}"}}'
        return counter_history(name, lambda _: rate, start=NOW - DAYS - MINUTE, end=until)

    def burst(at: datetime) -> float:
        return 30.0 if at > NOW - timedelta(hours=1) else 0.001

    return "".join(
        (
            "# TYPE http_requests counter\n",
            series("shop", "200", 99.43),
            series("shop", "500", 0.57),
            series("burning", "200", 70.0),
            counter_history('http_requests_total{service="burning",code="500"}', burst,
                            start=NOW - DAYS - MINUTE, end=NOW),
            series("gone", "200", 5.0, NOW - timedelta(hours=3)),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with backfilled_prometheus(tmp_path_factory.mktemp("prometheus"), history()) as started:
        yield started


def settings(world: World, url: str) -> None:
    world.write("opsascode.yml", f"""
        apiVersion: opsascode/v1
        kind: Repository
        metadata: {{name: test-repository}}
        spec: {{prometheus: {{url: "{url}", timeout: 5s}}}}
        """)  # fmt: skip


@pytest.fixture
def watched(tmp_path: Path, prometheus: Prometheus) -> World:
    world = new_world(tmp_path / "home")
    settings(world, prometheus.url)
    for name, target in (("shop", "99%"), ("burning", "99.9%"), ("gone", "99%"), ("nobody", "99%")):
        world.write(f"policies/{name}.yml", POLICY.format(name=name, target=target))
    world.commit()
    return world


def test_status_shows_budgets_bars_and_what_fires(watched: World) -> None:
    answer = watched.ops("slo", "status", "shop", "burning", "--at", AT, PYTHONIOENCODING="utf-8")
    assert answer.code == 0, answer.out + answer.err
    shop = next(line for line in answer.out.splitlines() if "99.4" in line)
    assert shop.split()[:2] == ["availability", "99%"]
    assert "[██████████▒·····╎···]" in shop
    assert shop.endswith("warn")
    burning = next(line for line in answer.out.splitlines() if "exhausted" in line)
    assert "▶" in burning
    assert " -" in burning  # less than nothing is left
    assert "page fires: availability burns " in answer.out


def test_without_unicode_bars_are_ascii_and_without_a_terminal_there_is_no_colour(watched: World) -> None:
    answer = watched.ops("slo", "status", "shop", "--at", AT, PYTHONIOENCODING="ascii")
    assert "[##########+-----|---]" in answer.out
    assert "\x1b" not in answer.out
    assert answer.out.isascii()


def test_no_data_says_since_when_and_shows_no_number(watched: World) -> None:
    answer = watched.ops("slo", "status", "gone", "nobody", "--at", AT)
    assert answer.code == 0
    assert f"no data since {NOW - timedelta(hours=3):%Y-%m-%d %H:%M:%S} UTC: its metric is gone" in answer.out
    assert "no data: its metric does not exist" in answer.out
    assert "nan" not in answer.out.lower()


def test_json_is_complete_and_exact(watched: World) -> None:
    answer = watched.ops("slo", "status", "shop", "--at", AT, "--format", "json")
    (service,) = answer.json["services"]
    (target,) = service["targets"]
    assert service["commit"] == watched.git("rev-parse", "HEAD").strip()
    assert target["target"] == "0.99"
    assert abs(Decimal(target["consumed"]) - Decimal("0.57")) < Decimal("0.005")
    assert Decimal(target["consumed"]) + Decimal(target["remaining"]) == 1
    assert target["level"] == "warn"
    assert {each["level"] for each in target["alerts"]} == {"page", "ticket"}


def test_a_saved_snapshot_is_judged_without_prometheus_and_by_the_targets_that_hold_now(watched: World) -> None:
    saved = watched.home / "saved.json"
    assert watched.ops("slo", "status", "--at", AT, "--save", saved).code == 0
    settings(watched, "http://127.0.0.1:9")
    watched.write("policies/shop.yml", POLICY.format(name="shop", target="99.5%"))
    answer = watched.ops("slo", "status", "shop", "--snapshot", saved)
    assert answer.code == 0, answer.err
    assert "measured when the target was 99%" in answer.out
    assert "the policy has changed since it was measured" in answer.out
    assert "exhausted" in answer.out
    again = watched.ops("slo", "status", "shop", "--snapshot", saved, "--format", "json").json["services"][0]
    assert again["targets"][0]["measured_target"] == "0.99"
    watched.write("policies/new.yml", POLICY.format(name="new", target="99.5%"))
    answer = watched.ops("slo", "status", "--snapshot", saved)
    assert answer.code == 6
    assert "not in the snapshot: new" in answer.err


def test_words_that_cannot_be_used_are_one_clear_error(watched: World) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    (watched.home / "junk.json").write_text('{"format": "other"}')
    for words, says_so in (
        (("shopp",), "did you mean «shop»?"),
        (("--at", "yesterday"), "no moment of RFC 3339"),
        (("--at", NOW.replace(tzinfo=None).isoformat()), "no moment of RFC 3339 with an offset"),
        (("--at", ahead), "lies ahead"),
        (("--snapshot", str(watched.home / "none.json")), "cannot be read: No such file"),
        (("--snapshot", str(watched.home / "junk.json")), "its format is not opsascode/slo-snapshots/v1"),
        (("--snapshot", "x", "--at", AT), "leave one of them out"),
    ):
        answer = watched.ops("slo", "status", *words)
        assert answer.code == 2, answer.out
        assert says_so in answer.err


def test_a_prometheus_that_cannot_be_asked_is_exit_code_6_and_keeps_its_secret(watched: World) -> None:
    settings(watched, "http://127.0.0.1:9")
    answer = watched.ops("slo", "status", "shop")
    assert answer.code == 6
    assert "could not be measured: http://127.0.0.1:9 cannot be reached" in answer.out
    with hostile(says(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")) as server:
        watched.write("opsascode.yml", f"""
            apiVersion: opsascode/v1
            kind: Repository
            metadata: {{name: test-repository}}
            spec: {{prometheus: {{url: "{server.url}", bearer: env:PROMETHEUS_TOKEN}}}}
            """)  # fmt: skip
        answer = watched.ops("slo", "status", "shop", PROMETHEUS_TOKEN="do-not-show")  # noqa: S106 - shown nowhere is what is tested
        assert answer.code == 6
        assert "does not let us in (HTTP status 401)" in answer.out
        assert "do-not-show" not in answer.out + answer.err
        assert "bearer do-not-show" in server.requests[0].lower()
        assert "PROMETHEUS_TOKEN" in watched.ops("slo", "status", "shop").out


def test_what_was_measured_can_be_recorded_in_the_ledger(watched: World) -> None:
    answer = watched.ops("slo", "status", "--at", AT, "--record", "--format", "json")
    assert answer.code == 0, answer.err
    assert answer.json["recorded"] == [0]
    listed = watched.ops("ledger", "log", "--format", "json")
    assert "slo-snapshot" in listed.out
    assert watched.ops("verify", "--all").code == 0


def test_a_report_is_the_same_bytes_each_time_and_its_picture_is_well_formed(watched: World) -> None:
    out, picture = watched.home / "review.md", watched.home / "review.svg"
    words = ("slo", "report", "--at", AT, "--out", out, "--picture", picture)
    first = []
    for _ in range(2):
        answer = watched.ops(*words)
        assert answer.code == 0, answer.err
        first.append((out.read_bytes(), picture.read_bytes()))
    assert first[0] == first[1]
    text = out.read_text()
    assert "![How the error budgets went down](review.svg)" in text
    assert re.search(
        r"^\| availability \| 99% \| 99\.4\d% \| 5[67]\.\d% \| 4[23]\.\d% \| 0\.5\d \|", text, re.MULTILINE
    )
    assert "## gone" in text
    root = ET.fromstring(picture.read_text())  # noqa: S314 - written by ourselves
    assert len([each for each in root.iter() if each.get("class") == "left"]) == 3
    assert "there are no data" in picture.read_text()


def test_a_report_says_which_targets_changed_since_an_earlier_snapshot(watched: World) -> None:
    saved = watched.home / "saved.json"
    watched.ops("slo", "status", "--at", AT, "--save", saved)
    watched.write("policies/shop.yml", POLICY.format(name="shop", target="99.9%"))
    answer = watched.ops("slo", "report", "shop", "--at", AT, "--compare", saved)
    assert answer.code == 0
    assert "- availability: the target was 99%, and is 99.9%" in answer.out
    assert json.loads(saved.read_text())["snapshots"][0]["commit"]


def test_check_live_finds_what_prometheus_does_not_have(watched: World) -> None:
    answer = watched.ops("check", "--live")
    assert answer.code == 3
    assert "policies/nobody.yml:6:" in answer.out
    assert "[metric-missing]" in answer.out
    assert "policies/shop.yml" not in answer.out
    assert "nobody" not in watched.ops("check", "--live", "policies/shop.yml").out
    settings(watched, "http://127.0.0.1:9")
    answer = watched.ops("check", "--live")
    assert answer.code == 6
    assert "cannot be reached" in answer.err
    assert watched.ops("check").code == 0
