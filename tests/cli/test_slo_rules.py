"""`opsascode slo rules`: printed, written, compared; nothing of anybody else is touched."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.slo.documents import write_policies
from tests.world import World

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """
service: checkout
slo_targets: {availability: 99.95%, latency_p90_ms: 150}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(home=tmp_path)
    write_policies(made.root, checkout=POLICY, search="slo_targets: {availability: 99%}")
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit()
    return made


def listed(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir())


def test_rules_are_printed_as_documents_that_name_what_was_left_out(world: World) -> None:
    said = world.ops("slo", "rules")
    assert said.code == 0, said.err
    one, two = yaml.safe_load_all(said.out)
    assert {each["name"] for each in one["groups"]} > {"opsascode checkout/availability burn"}
    assert len(two["groups"]) == 2
    assert "# Left out, as it can never fire: checkout/latency_p90_ms: no page over 1h/5m" in said.out


def test_one_service_as_json(world: World) -> None:
    (file,) = world.ops("slo", "rules", "search", "--format", "json").json["files"]
    assert file["service"] == "search"
    assert {rule["record"] or rule["alert"] for group in file["groups"] for rule in group["rules"]} >= {
        "SloBudgetBurnsFast",
        "slo:budget_consumed:ratio",
    }


def test_files_are_written_once_and_pass_promtool(world: World) -> None:
    out = world.root / "monitoring"
    said = world.ops("slo", "rules", "--out", "monitoring")
    assert said.code == 0, said.err
    assert listed(out) == [
        f"{service}.{kind}"
        for service in ("checkout", "search")
        for kind in ("dashboard.json", "rules.yml", "test.yml")
    ]
    assert said.out.count("written: monitoring/") == 6
    assert "no alert: checkout/latency_p90_ms: no page over 1h/5m: it asks for more than 144% bad events" in said.out
    assert (out / "search.rules.yml").stat().st_mode & 0o777 == 0o644
    before = {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in out.iterdir()}
    again = world.ops("slo", "rules", "--out", "monitoring")
    assert "written" not in again.out
    assert "6 files unchanged" in again.out
    assert {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in out.iterdir()} == before
    done = subprocess.run(
        ["promtool", "test", "rules", "search.test.yml"], cwd=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_says_what_differs_and_writes_nothing(world: World) -> None:
    missing = world.ops("slo", "rules", "--out", "monitoring", "--check")
    assert missing.code == 1
    assert not (world.root / "monitoring").exists()
    world.ops("slo", "rules", "--out", "monitoring")
    assert world.ops("slo", "rules", "--out", "monitoring", "--check").code == 0
    write_policies(world.root, search="slo_targets: {availability: 98%}")
    said = world.ops("slo", "rules", "--out", "monitoring", "--check")
    assert said.code == 1
    assert "-        expr: 'vector(0.99)'" in said.out
    assert "+        expr: 'vector(0.98)'" in said.out
    assert "differs: monitoring/search.rules.yml" in said.out
    states = {
        each["name"]: each["state"]
        for each in world.ops("slo", "rules", "--out", "monitoring", "--check", "--format", "json").json["files"]
    }
    assert states["checkout.rules.yml"] == "unchanged"
    assert states["search.rules.yml"] == "written"


def test_a_service_that_is_gone_is_told_and_its_files_stay(world: World) -> None:
    world.ops("slo", "rules", "--out", "monitoring")
    (world.root / "policies" / "search.yml").unlink()
    (world.root / "monitoring" / "mine.rules.yml").write_text("groups: []\n", "utf-8")
    said = world.ops("slo", "rules", "--out", "monitoring")
    assert said.code == 0
    assert "left over, no policy is about it: monitoring/search.rules.yml" in said.out
    assert "mine.rules.yml" not in said.out
    assert len(listed(world.root / "monitoring")) == 7
    assert world.ops("slo", "rules", "--out", "monitoring", "--check").code == 1
    assert world.ops("slo", "rules", "checkout", "--out", "monitoring", "--check").code == 0


@pytest.mark.parametrize("name", ["search.rules.yml", "search.dashboard.json"])
def test_a_file_of_somebody_else_is_never_written_over(world: World, name: str) -> None:
    out = world.root / "monitoring"
    out.mkdir()
    (out / name).write_text("{}\n", "utf-8")
    said = world.ops("slo", "rules", "--out", "monitoring")
    assert said.code == 2
    assert f"monitoring/{name} was not written by opsascode slo rules" in said.err
    assert listed(out) == [name]


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(world: World) -> None:
    world.ops("slo", "rules", "--out", "monitoring")
    rules = world.root / "monitoring" / "search.rules.yml"
    elsewhere = world.home / "elsewhere.yml"
    elsewhere.write_text(rules.read_text("utf-8").replace("99", "98"), "utf-8")
    rules.unlink()
    rules.symlink_to(elsewhere)
    kept = elsewhere.read_bytes()
    assert world.ops("slo", "rules", "--out", "monitoring").code == 0
    assert not rules.is_symlink()
    assert elsewhere.read_bytes() == kept


def test_words_that_make_no_sense(world: World) -> None:
    assert world.ops("slo", "rules", "--check").code == 2
    unknown = world.ops("slo", "rules", "chekout")
    assert unknown.code == 2
    assert "checkout" in unknown.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_one_clear_error(world: World) -> None:
    out = world.root / "monitoring"
    out.mkdir(mode=0o500)
    said = world.ops("slo", "rules", "--out", "monitoring")
    assert said.code == 1
    assert "cannot be written" in said.err


def test_json_tells_what_was_written(world: World) -> None:
    said = world.ops("slo", "rules", "--out", "monitoring", "--format", "json").json
    assert {each["state"] for each in said["files"]} == {"written"}
    assert json.dumps(said["dropped"]).count("no page over") == 1
