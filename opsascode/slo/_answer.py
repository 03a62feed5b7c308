"""What can Prometheus be asked, and what do the bytes of its answer say?

A number is an exact decimal, as Prometheus writes it; NaN and infinities are no numbers here, and a reader sees which
word stood there. An empty answer is no data, which is not zero.

Not here: sending anything (`_prometheus`), which queries are asked (`_measure`, `_live`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NoReturn

from opsascode.errors import ExitCode, OpsError
from opsascode.slo._snapshot import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHOWN: Final = 300
_MOST_NOTES: Final = 10
_LABELS_NAMED: Final = 5


class PrometheusError(OpsError):
    """Prometheus could not be asked, so nobody can know.

    Exit code 6: nothing is said about the service, neither good nor bad.
    """

    exit_code = ExitCode.INDETERMINATE


class QueryRefusedError(PrometheusError):
    """Prometheus was reached, and refuses the query: it is wrong, or too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request to the HTTP API: what stands behind `/api/v1/`, and its parameters."""

    path: str
    words: tuple[tuple[str, str], ...] = ()
    post: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value; None where it is NaN or infinite, and `written` is how Prometheus wrote it."""

    labels: Mapping[str, str]
    at: datetime
    value: Decimal | None
    written: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values over time; a moment without a value is left out."""

    labels: Mapping[str, str]
    points: tuple[tuple[datetime, Decimal], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of status `success`: its data, still as JSON (numbers exact), and what Prometheus warns of."""

    data: Any
    notes: tuple[str, ...] = ()


def instant(query: str, at: datetime | None = None) -> Question:
    """Ask what a query gives at one moment; without one, now by the clock of Prometheus."""
    when = (("time", moment_text(at)),) if at else ()
    return Question(path="query", words=(("query", query), *when))


def ranged(query: str, *, start: datetime, end: datetime, step: timedelta) -> Question:
    """Ask what a query gives over time."""
    span = (("start", moment_text(start)), ("end", moment_text(end)), ("step", f"{step.total_seconds():g}"))
    return Question(path="query_range", words=(("query", query), *span))


def label_values(label: str, selectors: Iterable[str], *, start: datetime, end: datetime) -> Question:
    """Ask which values a label has among series that had samples in a span."""
    words = (*(("match[]", each) for each in selectors), ("start", moment_text(start)), ("end", moment_text(end)))
    return Question(path=f"label/{label}/values", words=words, post=False)


def read_reply(status: int, kind: str, body: bytes) -> Reply:
    """Read what came back.

    Raises:
        QueryRefusedError: Prometheus refuses the query.
        PrometheusError: it is no answer of Prometheus, or one that it could not answer.
    """
    found = _json(body)
    if not isinstance(found, dict) or found.get("status") not in {"success", "error"}:
        raise _foreign(status, kind, body)
    if found["status"] == "error":
        said = f"{found.get('errorType', 'error')}: {found.get('error', 'no reason given')}"
        if status in {400, 422}:
            raise QueryRefusedError(f"Prometheus refuses the query: {_shown(said)}")
        raise PrometheusError(f"Prometheus cannot answer (HTTP status {status}): {_shown(said)}")
    if status != 200:  # noqa: PLR2004 - HTTP OK
        raise _foreign(status, kind, body)
    notes = [*_texts(found.get("warnings")), *_texts(found.get("infos"))]
    return Reply(data=found.get("data"), notes=tuple(notes[:_MOST_NOTES]))


def samples(reply: Reply) -> tuple[Sample, ...]:
    """Give the values of an instant query; a scalar is one without labels.

    Raises:
        PrometheusError: the answer is none of an instant query.
    """
    kind, result = _result(reply)
    if kind == "scalar":
        at, written = _point(result)
        return (Sample(labels={}, at=at, value=_number(written), written=written),)
    if kind != "vector" or not isinstance(result, list):
        raise _unreadable(f"a {kind} where values at one moment were asked for")
    found = []
    for each in result:
        at, written = _point(_part(each, "value"))
        found.append(Sample(labels=_labels(each), at=at, value=_number(written), written=written))
    return tuple(found)


def series(reply: Reply) -> tuple[Series, ...]:
    """Give the values of a query over time.

    Raises:
        PrometheusError: the answer is none of a query over time.
    """
    kind, result = _result(reply)
    if kind != "matrix" or not isinstance(result, list):
        raise _unreadable(f"a {kind} where values over time were asked for")
    found = []
    for each in result:
        values = _part(each, "values")
        if not isinstance(values, list):
            raise _unreadable("values over time are no list")
        points = ((at, _number(written)) for at, written in map(_point, values))
        kept = tuple((at, value) for at, value in points if value is not None)
        found.append(Series(labels=_labels(each), points=kept))
    return tuple(found)


def texts(reply: Reply) -> tuple[str, ...]:
    """Give the values of a label.

    Raises:
        PrometheusError: the answer is no list of texts.
    """
    if not isinstance(reply.data, list) or not all(isinstance(each, str) for each in reply.data):
        raise _unreadable("no list of texts where values of a label were asked for")
    return tuple(reply.data)


def only_sample(found: Sequence[Sample], what: str) -> Sample | None:
    """Give the one value there may be.

    Raises:
        QueryRefusedError: there are more; the labels that differ are named.
    """
    if len(found) > 1:
        names = sorted({name for each in found for name in each.labels})
        differ = [name for name in names if len({each.labels.get(name) for each in found}) > 1]
        shown = ", ".join(differ[:_LABELS_NAMED]) or "none"
        raise QueryRefusedError(
            f"{what} gives {len(found)} series where one is needed; the labels that differ: {shown}",
            advice="aggregate in the query, for example with sum(…) or max(…), or select one series",
        )
    return found[0] if found else None


def _json(body: bytes) -> Any:  # noqa: ANN401 - whatever a server sent
    try:
        return json.loads(body, parse_float=_written_number, parse_int=_written_number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _written_number(text: str) -> Decimal:
    if len(text) > _SHOWN:
        msg = "a number of absurd length"
        raise ValueError(msg)
    return Decimal(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _foreign(status: int, kind: str, body: bytes) -> PrometheusError:
    """Say what answered instead of Prometheus, without showing much of it."""
    if status in {401, 403}:
        return PrometheusError(
            f"Prometheus does not let us in (HTTP status {status})",
            advice="see spec.prometheus in opsascode.yml: bearer, or username and password",
        )
    html = "html" in kind.lower() or body.lstrip()[:1] == b"<"
    what = "a web page" if html else "something that is no answer of Prometheus" if body else "nothing"
    return PrometheusError(
        f"what answers (HTTP status {status}) sends {what}",
        advice="see spec.prometheus.url in opsascode.yml: is it the address of Prometheus, with its path?",
    )


def _result(reply: Reply) -> tuple[str, Any]:
    kind = reply.data.get("resultType") if isinstance(reply.data, dict) else None
    if not isinstance(kind, str):
        raise _unreadable("no kind of result")
    return _shown(kind), reply.data.get("result")


def _point(found: object) -> tuple[datetime, str]:
    if not isinstance(found, list) or len(found) != 2:  # noqa: PLR2004 - a moment and a value
        raise _unreadable("a value is no pair of moment and number")
    at, written = found
    if not isinstance(at, Decimal) or not isinstance(written, str):
        raise _unreadable("a value is no pair of moment and number")
    try:
        return datetime.fromtimestamp(float(at), UTC), written
    except (OverflowError, ValueError, OSError):
        raise _unreadable("a moment that no calendar has") from None


def _number(written: str) -> Decimal | None:
    try:
        number = Decimal(written)
    except InvalidOperation:
        raise _unreadable(f"«{_shown(written)}» where a number was asked for") from None
    return number if number.is_finite() else None


def _labels(found: object) -> Mapping[str, str]:
    labels = _part(found, "metric")
    if not isinstance(labels, dict):
        raise _unreadable("a series without labels")
    return {str(name): str(value) for name, value in labels.items()}


def _part(found: object, name: str) -> object:
    return found.get(name) if isinstance(found, dict) else None


def _texts(found: object) -> list[str]:
    return [_shown(str(each)) for each in found] if isinstance(found, list) else []


def _shown(text: str) -> str:
    """Keep a text from elsewhere on one line, and short."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _unreadable(what: str) -> PrometheusError:
    return PrometheusError(f"the answer of Prometheus cannot be read: {what}")
