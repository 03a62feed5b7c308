"""How is a burn-down drawn? One SVG of one chart for each promise, for a review.

Text from elsewhere is escaped, and the same input gives the same bytes. Colours follow the reader's choice of dark or
light; no meaning is by colour alone, as lines are labelled. A title and a description say the same to who cannot see.

Not here: where the course is from (`_course`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.slo._course import Moment

_WIDTH: Final = 800
_HEIGHT: Final = 300
_LEFT: Final = 64
_RIGHT: Final = 130
_TOP: Final = 62
_BOTTOM: Final = 40
_TICKS: Final = 6
_MOST_TEXT: Final = 80
_LOWEST: Final = Decimal(-4)
_DAY: Final = timedelta(days=1)
_STYLE: Final = """
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #57606a } .grid { stroke: #d0d7de }
  .even { stroke: #57606a; stroke-dasharray: 2 4 } .warn { stroke: #9a6700; stroke-dasharray: 6 4 }
  .critical { stroke: #cf222e; stroke-dasharray: 6 4 } .zero { stroke: #cf222e; stroke-width: 1.5 }
  .left { stroke: #0969da; stroke-width: 2.5; fill: none; stroke-linejoin: round }
  .gap { stroke: #0969da; stroke-width: 1.5; fill: none; stroke-dasharray: 2 3 }
  .warn-text { fill: #9a6700 } .critical-text { fill: #cf222e } .now { fill: #0969da }
  text { font: 12px system-ui, sans-serif } .head { font-size: 16px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #30363d }
    .even { stroke: #9198a1 } .warn { stroke: #d29922 } .critical, .zero { stroke: #f85149 }
    .left, .gap { stroke: #4493f8 } .warn-text { fill: #d29922 } .critical-text { fill: #f85149 } .now { fill: #4493f8 }
  }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnDown:
    """One chart: the budget of a promise over its window, with the shares left at which it warns and is critical."""

    title: str
    start: datetime
    end: datetime
    moments: tuple[Moment, ...]
    warn: Decimal
    critical: Decimal
    problem: str | None = None

    def sentence(self) -> str:
        """Say in words what the chart shows."""
        span = f"from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        if not self.moments:
            return f"{self.title}, {span}: no course, {self.problem or 'as there are no data'}."
        last = self.moments[-1]
        left = f"{_percent(last.remaining)} of the error budget is left at {last.at:%Y-%m-%d %H:%M} UTC"
        marks = f"warn at {_percent(1 - self.warn)} left, critical at {_percent(1 - self.critical)} left"
        return f"{self.title}, {span}: {left}; {marks}."


def burn_down_svg(title: str, charts: Sequence[BurnDown]) -> str:
    """Draw the charts below each other."""
    height = _HEIGHT * max(1, len(charts)) + 10
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'<title id="title">{_text(title)}</title>',
            f'<desc id="description">{_text(" ".join(each.sentence() for each in charts), most=4000)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
            *(line for number, each in enumerate(charts) for line in _chart(each, number * _HEIGHT)),
            "</svg>",
            "",
        )
    )


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where a moment and a share lie on the paper."""

    chart: BurnDown
    lowest: Decimal

    def x(self, at: datetime) -> str:
        share = (at - self.chart.start) / (self.chart.end - self.chart.start)
        return f"{_LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, remaining: Decimal) -> str:
        shown = min(max(remaining, self.lowest), Decimal(1))
        share = (1 - shown) / (1 - self.lowest)
        return f"{_TOP + share * (_HEIGHT - _TOP - _BOTTOM):.1f}"


def _chart(chart: BurnDown, down: int) -> Iterator[str]:
    least = min((each.remaining for each in chart.moments), default=Decimal(0))
    plane = _Plane(chart, max(_LOWEST, min(Decimal(0), least * Decimal("1.05"))))
    yield f'<g transform="translate(0 {down})">'
    yield f'<text class="ink head" x="{_LEFT}" y="28">{_text(chart.title)}</text>'
    yield f'<text class="soft" x="{_LEFT}" y="47">Share of the error budget that is left, UTC</text>'
    yield from _axes(plane)
    if chart.moments:
        yield from _line(plane)
        yield from _last(plane)
    else:
        middle = (_LEFT + _WIDTH - _RIGHT) // 2
        words = _text(chart.problem or "no data")
        yield f'<text class="ink" x="{middle}" y="{_HEIGHT // 2}" text-anchor="middle">{words}</text>'
    yield "</g>"


def _axes(plane: _Plane) -> Iterator[str]:
    chart, right = plane.chart, _WIDTH - _RIGHT
    for share in _shares(plane.lowest):
        y = plane.y(share)
        kind = "zero" if not share else "grid"
        yield f'<line class="{kind}" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield f'<text class="soft" x="{_LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{_percent(share)}</text>'
    for kind, threshold in (("warn", chart.warn), ("critical", chart.critical)):
        y, words = plane.y(1 - threshold), f"{kind} {_percent(1 - threshold)}"
        yield f'<line class="{kind}" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
        yield f'<text class="{kind}-text" x="{right + 8}" y="{float(y) + 4:.1f}">{words}</text>'
    yield (
        f'<line class="even" x1="{plane.x(chart.start)}" y1="{plane.y(Decimal(1))}" '
        f'x2="{plane.x(chart.end)}" y2="{plane.y(Decimal(0))}"/>'
    )
    yield f'<text class="soft" x="{right + 8}" y="{float(plane.y(Decimal(0))) + 4:.1f}">even burn</text>'
    span = chart.end - chart.start
    form = "%m-%d" if span >= _TICKS * _DAY else "%m-%d %H:%M" if span >= _DAY else "%H:%M"
    for number in range(_TICKS + 1):
        at = chart.start + span * number / _TICKS
        yield (
            f'<text class="soft" x="{plane.x(at)}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{at:{form}}</text>'
        )


def _line(plane: _Plane) -> Iterator[str]:
    """Draw the course; dashed where nothing was measured."""
    moments = plane.chart.moments
    points = [(plane.x(each.at), plane.y(each.remaining)) for each in moments]
    at = 0
    while at < len(points) - 1:
        known, end = moments[at + 1].known, at + 1
        while end < len(points) - 1 and moments[end + 1].known is known:
            end += 1
        path = " ".join(f"{x},{y}" for x, y in points[at : end + 1])
        yield f'<polyline class="{"left" if known else "gap"}" points="{path}"/>'
        at = end


def _last(plane: _Plane) -> Iterator[str]:
    last = plane.chart.moments[-1]
    words = f"{_percent(last.remaining)} left"
    yield f'<circle class="now" cx="{plane.x(last.at)}" cy="{plane.y(last.remaining)}" r="4"/>'
    yield f'<text class="ink head" x="{_WIDTH - _RIGHT}" y="47" text-anchor="end">{words}</text>'


def _shares(lowest: Decimal) -> tuple[Decimal, ...]:
    """Give the shares that get a line of the grid."""
    step = Decimal("0.25") if lowest > Decimal("-0.5") else Decimal("0.5") if lowest > Decimal("-1.5") else Decimal(1)
    count = int((1 - lowest) / step)
    return tuple(1 - step * number for number in range(count + 1))


def _percent(share: Decimal) -> str:
    """Write a share, cut to one place: it is never shown as more than it is."""
    text = f"{(share * 100).quantize(Decimal('0.1'), ROUND_FLOOR):f}"
    return f"{text.removesuffix('.0')}%"


def _text(text: str, *, most: int = _MOST_TEXT) -> str:
    """Escape text from elsewhere; what XML cannot hold at all is left out."""
    kept = "".join(each for each in text if each.isprintable())
    return escape(kept if len(kept) <= most else f"{kept[:most]}…", {'"': "&quot;"})
