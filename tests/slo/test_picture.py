"""A burn-down is well-formed XML that says in words what it shows, whatever it is given; and the same each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from opsascode.slo import BurnDown, Moment, burn_down_svg

START = datetime(2026, 3, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def course(*remaining: str, known: bool = True) -> tuple[Moment, ...]:
    return tuple(
        Moment(at=START + timedelta(days=day), remaining=Decimal(each), known=known)
        for day, each in enumerate(remaining)
    )


def chart(title: str = "shop: availability, 99.9%", *remaining: str, problem: str | None = None) -> BurnDown:
    return BurnDown(
        title=title,
        start=START,
        end=START + timedelta(days=30),
        moments=course(*remaining),
        warn=Decimal("0.5"),
        critical=Decimal("0.8"),
        problem=problem,
    )


def read(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - written by ourselves


def test_title_and_description_say_what_is_shown() -> None:
    root = read(burn_down_svg("Reliability review", [chart("shop: availability, 99.9%", "1", "0.8", "0.3749")]))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "Reliability review"
    assert description is not None
    assert description.text == (
        "shop: availability, 99.9%, from 2026-03-01 00:00 to 2026-03-31 00:00 UTC: 37.4% of the error budget is left at "
        "2026-03-03 00:00 UTC; warn at 50% left, critical at 20% left."
    )


def test_both_dark_and_light_are_readable() -> None:
    style = read(burn_down_svg("Review", [chart("a", "1", "0.5")])).findtext(f"{SVG}style") or ""
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    for name in ("paper", "ink", "soft", "grid", "warn", "critical", "left", "now"):
        assert f".{name}" in light
        assert f".{name}" in dark


def test_without_a_course_it_says_why() -> None:
    svg = burn_down_svg("Review", [chart("a", problem="Prometheus cannot be reached")])
    assert "Prometheus cannot be reached" in svg
    assert "polyline" not in svg
    assert read(burn_down_svg("Review", [])) is not None


def test_where_nothing_was_measured_the_line_is_dashed() -> None:
    moments = (*course("1", "0.9"), Moment(at=START + timedelta(days=2), remaining=Decimal("0.9"), known=False))
    last = Moment(at=START + timedelta(days=3), remaining=Decimal("0.8"), known=True)
    whole = BurnDown(
        title="a",
        start=START,
        end=START + timedelta(days=4),
        moments=(*moments, last),
        warn=Decimal("0.5"),
        critical=Decimal("0.8"),
    )
    lines = read(burn_down_svg("Review", [whole])).iter(f"{SVG}polyline")
    assert [each.get("class") for each in lines] == ["left", "gap", "left"]


@given(
    st.text(max_size=200),
    st.lists(st.decimals(-1000, 1, allow_nan=False), max_size=30),
    st.text(max_size=50),
)
def test_whatever_it_is_given_it_is_well_formed_and_stays_on_the_paper(
    title: str, remaining: list[Decimal], problem: str
) -> None:
    one = chart(title, *map(str, remaining), problem=problem)
    svg = burn_down_svg(title, [one, one])
    assert svg == burn_down_svg(title, [one, one])
    for line in read(svg).iter(f"{SVG}polyline"):
        for point in (line.get("points") or "").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 800
            assert 0 <= y <= 300


def test_markup_in_a_name_is_shown_and_not_obeyed() -> None:
    svg = burn_down_svg("<script>alert(1)</script>", [chart('"><a href="x">&\x00\x1b\u202e', "1", "0.5")])
    assert "<script" not in svg
    assert "<a " not in svg
    assert read(svg) is not None
