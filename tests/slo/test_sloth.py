"""Documents of Sloth become policies of ours: what they promise is kept exactly, what they cannot say here is noted.

The promises are those of Sloth's published examples, written anew: an HTTP service, an API server, a wireless network.
Its windows are those of the SRE workbook, for 30 and for 28 days.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import Position
from opsascode.repo import (
    AlertLevel,
    Events,
    Histogram,
    InvalidDocumentsError,
    Notify,
    Raw,
    ReliabilityPolicy,
    Rolling,
    check_repository,
    open_repository,
)
from opsascode.slo import (
    Carried,
    Wishes,
    burn_windows,
    default_windows,
    documents_text,
    import_slos,
    impossible_windows,
)

if TYPE_CHECKING:
    from pathlib import Path

MONTH = Rolling(length=timedelta(days=30))
HERE = Position(path="x.yml")

HTTP = """
version: "prometheus/v1"
service: "web-shop"
labels: {owner: shop-team, tier: "2"}
slos:
  - name: "requests-availability"
    objective: 99.9
    description: "Answers to requests."
    sli:
      events:
        error_query: sum(rate(http_request_duration_seconds_count{job="web-shop",code=~"(5..|429)"}[{{.window}}]))
        total_query: sum(rate(http_request_duration_seconds_count{job="web-shop"}[{{.window}}]))
    alerting:
      name: WebShopErrors
      page_alert: {labels: {severity: pageteam}}
      ticket_alert: {labels: {severity: slack}}
"""

API = """
version: prometheus/v1
service: k8s-apiserver
slos:
  - name: requests-latency
    objective: 99
    sli:
      events:
        error_query: |
          (
            sum(rate(apiserver_request_duration_seconds_count{verb!="WATCH"}[{{.window}}]))
            -
            sum(rate(apiserver_request_duration_seconds_bucket{le="0.4",verb!="WATCH"}[{{.window}}]))
          )
        total_query: sum(rate(apiserver_request_duration_seconds_count{verb!="WATCH"}[{{.window}}]))
    alerting: {page_alert: {}, ticket_alert: {}}
"""

WIRELESS = """
version: prometheus/v1
service: home-wifi
slos:
  - name: good-clients
    objective: 95
    sli:
      events:
        error_query: sum_over_time((count(client_satisfaction_ratio < 0.75))[{{.window}}:]) OR on() vector(0)
        total_query: sum_over_time((count(client_satisfaction_ratio))[{{.window}}:])
    alerting: {page_alert: {}, ticket_alert: {}}
  - name: satisfaction
    objective: 95
    sli:
      raw:
        error_ratio_query: 1 - (sum(sum_over_time(r[{{.window}}])) / sum(count_over_time(r[{{.window}}])))
    alerting: {page_alert: {}, ticket_alert: {}}
"""


def carried(text: str, window: Rolling = MONTH, notify: str | None = "team:sre") -> Carried:
    return import_slos([("sloth.yml", dedent(text).encode())], Wishes(window=window, notify=notify))


def policies(found: Carried, folder: Path) -> tuple[ReliabilityPolicy, ...]:
    """Write what was carried over into a repository, check it, and read it back."""
    (folder / "policies").mkdir()
    (folder / "policies/imported.yml").write_text(documents_text(found.documents), encoding="utf-8")
    repository = open_repository(folder)
    assert check_repository(repository).problems == ()
    return repository.policies().reliability


def only(text: str, folder: Path, window: Rolling = MONTH) -> ReliabilityPolicy:
    (policy,) = policies(carried(text, window), folder)
    return policy


def test_rates_of_counters_become_counters_and_decimals_stay_exact(tmp_path: Path) -> None:
    policy = only(HTTP, tmp_path)
    (target,) = policy.targets
    assert (policy.service, policy.metadata.name, policy.window) == ("web-shop", "web-shop", MONTH)
    assert target.target == Decimal("0.999")
    assert target.indicator == Events(
        bad='http_request_duration_seconds_count{code=~"(5..|429)",job="web-shop"}',
        total='http_request_duration_seconds_count{job="web-shop"}',
    )
    assert policy.metadata.labels == {"owner": "shop-team", "tier": "2"}
    assert policy.alerting == ()  # the usual ones


def test_what_is_not_carried_over_is_noted_at_its_place() -> None:
    notes = carried(HTTP, notify=None).notes
    said = [(each.position.line, each.code) for each in notes]
    assert (4, "guessed") in said  # whom to tell: the owner
    assert (14, "not-carried") in said  # the name of the alert
    assert all(each.position.path == "sloth.yml" for each in notes)
    document = carried(HTTP, notify=None).documents[0]
    assert document["spec"]["escalation_chain"] == [{"notify": "team:shop-team"}]


def test_all_but_those_in_a_bucket_are_bad(tmp_path: Path) -> None:
    (target,) = only(API, tmp_path).targets
    assert target.target == Decimal("0.99")
    assert target.indicator == Events(
        good='apiserver_request_duration_seconds_bucket{le="0.4",verb!="WATCH"}',
        total='apiserver_request_duration_seconds_count{verb!="WATCH"}',
    )


def test_a_bucket_of_plainly_selected_series_is_a_histogram(tmp_path: Path) -> None:
    (target,) = only(API.replace("verb!=", "verb="), tmp_path).targets
    assert target.indicator == Histogram(
        metric="apiserver_request_duration_seconds", selector={"verb": "WATCH"}, threshold=Decimal("0.4")
    )


def test_queries_that_count_no_events_are_sampled_and_that_is_said(tmp_path: Path) -> None:
    found = carried(WIRELESS)
    assert [each.code for each in found.notes] == ["carried-differently"] * 2
    assert "a ratio over 5m, averaged over time and not weighted by events" in found.notes[0].message
    good, ratio = policies(found, tmp_path)[0].targets
    assert good.indicator == Raw(
        query="(sum_over_time((count(client_satisfaction_ratio < 0.75))[5m:]) OR on() vector(0)) / "
        "((sum_over_time((count(client_satisfaction_ratio))[5m:])) > 0)",
        of_failures=True,
    )
    assert isinstance(ratio.indicator, Raw)
    assert "[5m]" in ratio.indicator.query


def test_several_counters_are_added_event_by_event(tmp_path: Path) -> None:
    text = HTTP.replace(
        'error_query: sum(rate(http_request_duration_seconds_count{job="web-shop",code=~"(5..|429)"}[{{.window}}]))',
        "error_query: sum(rate(a[{{.window}}])) + sum(rate(b[{{.window}}])) or vector(0)",
    )
    (target,) = only(text, tmp_path).targets
    assert isinstance(target.indicator, Events)
    assert target.indicator.bad == "(sum(rate(a[$window])) or vector(0)) + (sum(rate(b[$window])) or vector(0))"


@pytest.mark.parametrize(
    ("objective", "share"),
    [("99.95", "0.9995"), ("99.99999", "0.9999999"), ('"99.9"', "0.999"), ("50", "0.5"), ("9.5e1", "0.95")],
)
def test_objectives_are_read_as_they_are_written(objective: str, share: str, tmp_path: Path) -> None:
    assert only(HTTP.replace("99.9", objective), tmp_path).targets[0].target == Decimal(share)


@pytest.mark.parametrize("objective", ["100", "0", "-1", "99.999999", "many", "[]"])
def test_an_objective_that_cannot_be_promised_is_left_out_and_noted(objective: str) -> None:
    found = carried(HTTP.replace("99.9", objective))
    assert found.documents == ()
    assert "its objective is no percentage above 0 and below 100" in found.notes[-1].message + found.notes[0].message


def test_a_page_that_is_switched_off_leaves_the_tickets(tmp_path: Path) -> None:
    text = HTTP.replace("page_alert: {labels: {severity: pageteam}}", "page_alert: {disable: true}")
    policy = only(text, tmp_path)
    assert policy.metadata.name == "web-shop-ticket-only"
    assert {each.level for each in policy.alerting} == {AlertLevel.TICKET}


def test_the_resource_for_clusters_is_the_same(tmp_path: Path) -> None:
    text = """
    apiVersion: sloth.slok.dev/v1
    kind: PrometheusServiceLevel
    metadata: {name: web-shop}
    spec:
      service: web-shop
      slos:
        - name: availability
          objective: 99.9
          sli:
            events:
              errorQuery: sum(rate(e[{{.window}}]))
              totalQuery: sum(rate(t[{{.window}}]))
          alerting: {pageAlert: {disable: true}, ticketAlert: {}}
    """
    policy = only(text, tmp_path)
    assert policy.targets[0].indicator == Events(bad="e", total="t")
    assert {each.level for each in policy.alerting} == {AlertLevel.TICKET}


def test_what_a_plugin_asks_is_noted() -> None:
    text = HTTP[: HTTP.index("    sli:")] + "    sli: {plugin: {id: some/v1}}\n"
    found = carried(text)
    assert found.documents == ()
    assert any("not what a plugin asks" in each.message for each in found.notes)


def test_what_is_neither_of_the_two_is_an_error_at_its_place() -> None:
    with pytest.raises(InvalidDocumentsError, match="neither OpenSLO v1 nor Sloth") as caught:
        carried("version: prometheus/v2\n")
    assert str(caught.value.position) == "sloth.yml:1:1"


# The agreement with Sloth: every window, factor and threshold of its two tables

GOOGLE = (  # level, long, short, share of the budget in percent, factor for 30 days, factor for 28 days
    ("page", "1h", "5m", 2, "14.4", "13.44"),
    ("page", "6h", "30m", 5, "6", "5.6"),
    ("ticket", "1d", "2h", 10, "3", "2.8"),
    ("ticket", "3d", "6h", 10, "1", "0.933333333333"),
)
THRESHOLDS = {  # for 99.9 %: what Sloth compares with, 14.4 * 0.001 and so on
    30: ("0.0144", "0.006", "0.003", "0.001"),
    28: ("0.01344", "0.0056", "0.0028", "0.000933333333"),
}


@pytest.mark.parametrize("days", [30, 28])
def test_windows_factors_and_thresholds_are_those_of_sloth(days: int, tmp_path: Path) -> None:
    policy = only(HTTP, tmp_path, Rolling(length=timedelta(days=days)))
    found = [
        (each.level.value, each.long, each.short, each.factor, each.threshold(policy.targets[0].target))
        for each in burn_windows(policy)
    ]
    factor = 4 if days == 30 else 5
    expected = [
        (row[0], _length(row[1]), _length(row[2]), Decimal(str(row[factor])), Decimal(threshold))
        for row, threshold in zip(GOOGLE, THRESHOLDS[days], strict=True)
    ]
    assert found == expected
    assert [each.budget for each in default_windows(timedelta(days=days))] == [Decimal(row[3]) / 100 for row in GOOGLE]


def test_where_sloth_would_never_fire_ours_says_so(tmp_path: Path) -> None:
    """90 % allows a burn of 10 at most: Sloth writes 14.4 * 0.1 = 1.44, which no ratio of errors exceeds."""
    policy = only(HTTP.replace("99.9", "90"), tmp_path)
    assert [each.factor for each in impossible_windows(policy, policy.targets[0])] == [Decimal("14.4")]


def test_thresholds_are_exact_where_sloth_s_are_binary(tmp_path: Path) -> None:
    """Sloth writes 14.4 * 0.0009999999999999432 for 99.9 %; ours is the number that was meant."""
    policy = only(HTTP, tmp_path)
    assert str(burn_windows(policy)[0].threshold(policy.targets[0].target)) == "0.0144"
    assert 1 - 99.9 / 100 != 0.001


def test_the_agreement_holds_for_every_level_of_promise(tmp_path: Path) -> None:
    policy = only(HTTP, tmp_path)
    for target in ("0.95", "0.99", "0.995", "0.9995", "0.9999"):
        promised = replace(policy.targets[0], target=Decimal(target))
        for window, row in zip(burn_windows(policy), GOOGLE, strict=True):
            assert window.threshold(promised.target) == Decimal(row[4]) * (1 - Decimal(target))


def test_somebody_is_told(tmp_path: Path) -> None:
    (step,) = only(HTTP, tmp_path).escalation_chain
    assert isinstance(step, Notify)
    assert step.whom == "team:sre"


def _length(text: str) -> timedelta:
    return {"h": timedelta(hours=1), "m": timedelta(minutes=1), "d": timedelta(days=1)}[text[-1]] * int(text[:-1])
