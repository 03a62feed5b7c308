"""`check` holds policies together, `slo import` and `slo export` carry them over: through the installed command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.trust import install

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

GUARDRAIL = """
apiVersion: opsascode/v1
kind: Guardrail
metadata: {name: guard}
spec:
  rules:
    - {name: may, who: {triggers: [ci]}, then: allow, reason: a}
  reason: Because.
"""
POLICY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  slo_targets: {availability: 99.95%}
  escalation_chain: [{notify: person:nobody-here}]
"""
SLOTH = """
version: prometheus/v1
service: shop
slos:
  - name: availability
    objective: 99.95
    sli:
      events:
        error_query: sum(rate(bad_total[{{.window}}]))
        total_query: sum(rate(all_total[{{.window}}]))
    alerting: {page_alert: {}, ticket_alert: {}}
"""


def test_a_check_tells_what_does_not_fit_together_in_every_form(world: World) -> None:
    world.write("policies/guard.yml", GUARDRAIL)
    text = world.ops("check")
    assert text.code == 0  # a warning
    assert "policies/guard.yml:6:7: warning: the rule «may» allows what is allowed anyway" in text.out
    assert "[rule-shadowed]" in text.out
    (problem,) = world.ops("check", "--format", "json").json["problems"]
    assert (problem["code"], problem["severity"], problem["line"]) == ("rule-shadowed", "warning", 6)
    assert world.ops("check", "--format", "github").out.startswith("::warning file=policies/guard.yml,line=6,col=7")
    sarif = world.ops("check", "--format", "sarif").json["runs"][0]
    assert sarif["results"][0]["ruleId"] == "rule-shadowed"


def test_only_what_was_asked_about_is_told(world: World) -> None:
    world.write("policies/guard.yml", GUARDRAIL)
    world.write("policies/other.yml", GUARDRAIL.replace("name: guard", "name: other"))
    told = world.ops("check", "policies/other.yml").out
    assert "policies/other.yml:6:7" in told
    assert "policies/guard.yml" not in told.partition("\n")[0]


def test_nothing_is_held_together_before_every_document_is_valid(world: World) -> None:
    world.write("policies/guard.yml", GUARDRAIL)
    world.write("policies/shop.yml", POLICY.replace("99.95%", "100%"))
    found = world.ops("check", "--format", "json")
    assert found.code == 3
    assert "rule-shadowed" not in found.out
    assert world.ops("check", "policies/guard.yml").code == 0


def test_people_are_those_of_the_committed_trust_root(world: World) -> None:
    world.write("policies/shop.yml", POLICY)
    assert world.ops("check", "--format", "json").json["problems"] == []
    install(world, pin=False)
    (problem,) = world.ops("check", "--format", "json").json["problems"]
    assert problem["code"] == "escalation-names-nobody"
    world.write("policies/shop.yml", POLICY.replace("person:nobody-here", "sre@workspace"))
    assert world.ops("check", "--format", "json").json["problems"] == []


def test_what_is_imported_passes_the_check_and_goes_out_and_in_again(world: World, tmp_path: Path) -> None:
    world.write("slo/sloth.yml", SLOTH)
    done = world.ops("slo", "import", "slo/sloth.yml", "--out", "policies")
    assert (done.code, done.out) == (0, "written: policies/shop.yml\n")
    assert "slo/sloth.yml:2:1: warning: Sloth does not say whom to tell" in done.err
    assert world.ops("check").code == 0
    out = world.ops("slo", "export", "shop")
    assert out.code == 0
    assert "target: 0.9995" in out.out
    back = world.write("slo/open.yml", out.out)
    again = world.ops("slo", "import", back, "--format", "json")
    assert again.json["notes"] == []
    (document,) = again.json["documents"]
    assert document["spec"]["slo_targets"] == {"availability": {"target": "99.95%", "indicator": "availability"}}


def test_strict_ends_with_3_where_anything_was_not_carried_over(world: World) -> None:
    world.write("slo/sloth.yml", SLOTH)
    assert world.ops("slo", "import", "slo/sloth.yml", "--strict").code == 3
    assert world.ops("slo", "import", "slo/sloth.yml", "--strict", "--notify", "team:sre").code == 0


def test_no_file_that_says_something_else_is_overwritten(world: World) -> None:
    world.write("slo/sloth.yml", SLOTH)
    world.write("policies/shop.yml", POLICY)
    refused = world.ops("slo", "import", "slo/sloth.yml", "--out", "policies")
    assert refused.code == 2
    assert "is there already, and says something else" in refused.err


@pytest.mark.parametrize("text", ["", "a: [", "kind: Other\n", "- 1\n", "version: prometheus/v1\nslos: 3\n"])
def test_what_cannot_be_imported_is_one_clear_answer(world: World, text: str) -> None:
    world.write("slo/x.yml", "#\n").write_text(text, encoding="utf-8")
    done = world.ops("slo", "import", "slo/x.yml")
    assert "Traceback" not in done.err
    assert done.code in ((0,) if "prometheus" in text else (3,))


def test_what_was_found_is_kept_for_the_day_and_found_anew_after_a_change(world: World) -> None:
    place = world.write("policies/guard.yml", GUARDRAIL)
    first = world.ops("check", "--format", "json").json["problems"]
    kept = list((world.home / "cache/opsascode/check").glob("lint-*.json"))
    assert len(kept) == 1
    assert world.ops("check", "--format", "json").json["problems"] == first
    place.write_text(GUARDRAIL.replace("then: allow", "then: deny").lstrip("\n"), encoding="utf-8")
    assert world.ops("check", "--format", "json").json["problems"] == []
    kept[0].write_text(json.dumps({"key": "x", "files": {}}), encoding="utf-8")
    assert world.ops("check", "--format", "json").json["problems"] == []
