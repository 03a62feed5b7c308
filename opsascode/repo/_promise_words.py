"""What do the words of a promise mean that is written in its short form?

`availability` and `latency` are the usual indicators: requests over HTTP, as most services count them, of the series
whose label `service` is the service. `latency_p95_ms` is about 95 % of the requests, `latency_p999_ms` about 99.9 %.

Not here: building a policy (`_reliability_build`), what is wrong with one (`_promise_rules`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

AVAILABILITY: Final = "availability"
LATENCY: Final = "latency"
DEFAULT_WINDOW: Final = timedelta(days=30)

_LATENCY_ID: Final = re.compile(r"latency_p(?:([1-9][0-9])|(9[0-9][0-9]{1,3}))_ms\Z")


def latency_share(name: str) -> Decimal | None:
    """Give the share of requests that an id such as `latency_p95_ms` is about; None where it is another id."""
    match = _LATENCY_ID.match(name)
    return None if match is None else Decimal(f"0.{match[1] or match[2]}")


def usual_indicator(*, bound: bool) -> str:
    """Name the indicator that counts where none is written; `bound` says that there is a longest duration."""
    return LATENCY if bound else AVAILABILITY


def default_indicator(name: str, service: str) -> dict[str, Any]:
    """Give what a usual indicator counts where the policy does not say it."""
    if name == LATENCY:
        return {"histogram": "http_request_duration_seconds", "selector": {"service": service}}
    return {
        "bad": f'http_requests_total{{service="{service}",code=~"5.."}}',
        "total": f'http_requests_total{{service="{service}"}}',
    }
