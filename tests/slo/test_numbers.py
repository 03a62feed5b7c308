"""Numbers that differ between services in the value of one label are one expression; every other is its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from opsascode.slo._numbers import count_of, newest_of

HOUR = timedelta(hours=1)


def test_sums_of_two_services_are_one_expression_grouped_by_their_label() -> None:
    shop, cart = (
        count_of(f'http_requests_total{{code=~"5..",job="{name}",service="{name}"}}', HOUR, name)
        for name in ("shop", "cart")
    )
    assert shop.query == 'sum(increase(http_requests_total{code=~"5..",job="shop",service="shop"}[1h]))'
    assert shop.shape != cart.shape  # the other label differs as well
    shop, cart = (
        count_of(f'http_requests_total{{code=~"5..",service="{name}"}}', HOUR, name) for name in ("shop", "cart")
    )
    assert shop.shape is not None
    assert shop.shape == cart.shape
    assert (shop.value, cart.value) == ("shop", "cart")
    assert (
        shop.shape.of(("shop", "cart"))
        == 'sum by (service) (increase(http_requests_total{code=~"5..",service=~"shop|cart"}[1h]))'
    )


def test_the_newest_sample_of_several_services_is_one_expression_too() -> None:
    shape = newest_of('up{job="shop"}', "shop").shape
    assert shape is not None
    assert shape.of(("shop", "cart")) == 'max by (job) (timestamp(up{job=~"shop|cart"}))'


@pytest.mark.parametrize(
    ("series", "service"),
    [
        ('http_requests_total{service=~"shop"}', "shop"),  # a pattern may mean several services
        ('http_requests_total{service!="shop"}', "shop"),
        ('http_requests_total{service="Shop"}', "shop"),
        ('http_requests_total{service="sh.p"}', "sh.p"),  # a dot would mean any character
        ("http_requests_total", "shop"),
        ('sum(http_requests_total{service="shop"})', "shop"),
    ],
)
def test_whatever_is_not_plainly_of_one_service_is_asked_alone(series: str, service: str) -> None:
    number = count_of(series, HOUR, service)
    assert number.query == f"sum(increase({series}[1h]))"
    assert number.shape is None


def test_windows_are_never_mixed() -> None:
    series = 'http_requests_total{service="shop"}'
    assert count_of(series, HOUR, "shop").shape != count_of(series, 2 * HOUR, "shop").shape
