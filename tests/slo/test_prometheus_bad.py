"""Whatever a server does, the client says one clear sentence in time, keeps its secrets, and never takes it for zero."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import ExitCode
from opsascode.repo import PrometheusSettings
from opsascode.slo import (
    PrometheusClient,
    PrometheusError,
    QueryRefusedError,
    ask_value,
    instant,
    measure,
)
from tests.slo.documents import policy_in
from tests.slo.hostile import Hostile, hostile, http, says, vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.slo.hostile import Behaviour

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "s3cr3t-do-not-show"  # noqa: S105 - shown nowhere is what is tested
OK = http(200, vector(({}, "1")))


def client_of(url: str, seconds: float = 5, /, **more: str) -> PrometheusClient:
    settings = PrometheusSettings(url=url, timeout=timedelta(seconds=seconds), **more)
    return PrometheusClient.of(settings, root=Path("/nonexistent"), environment={"TOKEN": SECRET})


def refusal(behaviour: Behaviour, *, seconds: float = 5, **more: str) -> PrometheusError:
    with hostile(behaviour) as server, pytest.raises(PrometheusError) as caught:
        ask_value(client_of(server.url, seconds, **more), "up", AT)
    return caught.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_down() -> None:
    with pytest.raises(PrometheusError, match="cannot be reached") as caught:
        ask_value(client_of(f"http://127.0.0.1:{free_port()}"), "up", AT)
    assert caught.value.exit_code is ExitCode.INDETERMINATE
    assert "spec.prometheus.url" in caught.value.advice


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(PrometheusError, match="cannot be reached"):
        ask_value(client_of("http://prometheus.invalid:9090"), "up", AT)


def drip(first: bytes, rest: bytes) -> Behaviour:
    def behave(connection: socket.socket, _: str) -> None:
        connection.sendall(first)
        for byte in rest:
            time.sleep(0.05)
            connection.sendall(bytes([byte]))

    return behave


def waits(connection: socket.socket, _: str) -> None:
    connection.recv(1)  # until the client leaves


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(waits, id="says nothing"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"a" * 2000), id="drips its head"),
        pytest.param(drip(OK[: OK.index(b"\r\n\r\n") + 4], b" " * 2000), id="drips its body"),
    ],
)
def test_slow_in_any_way_ends_at_the_deadline_of_the_whole(behaviour: Behaviour) -> None:
    started = time.monotonic()
    error = refusal(behaviour, seconds=0.5)
    assert time.monotonic() - started < 3
    assert "too slow: no whole answer within 0.5 s" in str(error)


def test_many_questions_to_a_server_that_says_nothing_have_one_deadline_together() -> None:
    started = time.monotonic()
    with hostile(waits) as server:
        answers = client_of(server.url, 0.3).ask_all([instant(f"up{number}") for number in range(100)])
        assert time.monotonic() - started < 5
        assert len(server.requests) <= 24
    assert all(isinstance(each, PrometheusError) for each in answers)


def test_a_server_that_is_not_there_is_not_asked_a_hundred_times() -> None:
    client = client_of(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    assert {str(each) for each in client.ask_all([instant("up")] * 500)} == {str(client.ask_all([instant("up")])[0])}
    assert time.monotonic() - started < 5


def truncated(connection: socket.socket, _: str) -> None:
    connection.sendall(OK[:-10])


@pytest.mark.parametrize(
    ("behaviour", "says_so"),
    [
        (says(http(200, "<!doctype html><title>Login</title>", kind="text/html; charset=utf-8")), "sends a web page"),
        (says(http(200, "  <html>", kind="application/json")), "sends a web page"),
        (says(http(503, "upstream connect error", kind="text/plain")), "HTTP status 503"),
        (says(http(503, "")), "sends nothing"),
        (
            says(http(503, json.dumps({"status": "error", "errorType": "unavailable", "error": "starting"}))),
            "cannot answer (HTTP status 503): unavailable: starting",
        ),
        (says(http(401, "Unauthorized", kind="text/plain")), "does not let us in (HTTP status 401)"),
        (says(http(403, "{}")), "does not let us in (HTTP status 403)"),
        (says(http(404, "404 page not found", kind="text/plain")), "HTTP status 404"),
        (says(http(200, "{}")), "no answer of Prometheus"),
        (says(http(200, "[1, 2")), "no answer of Prometheus"),
        (says(http(200, "[" * 100_000)), "no answer of Prometheus"),
        (says(http(200, b"\xff\xfe\x00")), "no answer of Prometheus"),
        (says(http(200, '{"status": "success"}')), "no kind of result"),
        (says(http(200, '{"status": "success", "data": {"resultType": "matrix", "result": []}}')), "a matrix where"),
        (says(http(200, '{"status": "success", "data": {"resultType": "vector", "result": [7]}}')), "no pair"),
        (says(http(200, vector(({}, "many")))), "«many» where a number"),
        (says(http(200, vector(({}, "1"), at=1e300))), "no calendar"),
        (says(http(200, OK, content_encoding="gzip")), "compressed"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "broke off"),
        (says(b""), "broke off"),
        (truncated, "broke off"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_one_clear_error(behaviour: Behaviour, says_so: str) -> None:
    error = refusal(behaviour)
    assert says_so in str(error)
    assert "\n" not in str(error)
    assert not isinstance(error, QueryRefusedError)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_query_is_told_in_the_words_of_prometheus(status: int) -> None:
    body = json.dumps({"status": "error", "errorType": "bad_data", "error": "1:5: parse error:\nunexpected <eof>"})
    error = refusal(says(http(status, body)))
    assert isinstance(error, QueryRefusedError)
    assert "refuses the query: bad_data: 1:5: parse error: unexpected <eof>" in str(error)


@pytest.mark.parametrize("written", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_number_is_no_data(written: str) -> None:
    with hostile(says(http(200, vector(({}, written))))) as server:
        assert ask_value(client_of(server.url), "up", AT) is None


def test_an_empty_answer_is_no_data_and_a_number_is_exact() -> None:
    with hostile(says(http(200, vector()))) as server:
        assert ask_value(client_of(server.url), "up", AT) is None
    with hostile(says(http(200, vector(({}, "0.1000000000000000055511151231257827"))))) as server:
        assert ask_value(client_of(server.url), "up", AT) == Decimal("0.1000000000000000055511151231257827")


def test_more_than_one_series_is_refused_with_the_labels_that_differ() -> None:
    series = [({"job": "shop", "pod": str(number), "zone": "a"}, "1") for number in range(3)]
    error = refusal(says(http(200, vector(*series))))
    assert "gives 3 series where one is needed; the labels that differ: pod" in str(error)
    assert "sum(" in error.advice


def test_a_body_without_end_is_cut_off() -> None:
    def behave(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        for _number in range(100):
            connection.sendall(b" " * (1 << 20))

    assert "sends more than 32 MiB" in str(refusal(behave, seconds=20))


def test_a_redirect_is_told_and_not_followed() -> None:
    with hostile(says(OK)) as elsewhere:
        location = f"http://user:word@127.0.0.1:{elsewhere.port}/api/v1/query?token=abc"
        error = refusal(says(http(302, "", location=location)), bearer="env:TOKEN")
        assert elsewhere.requests == []
    assert f"sends us on to http://127.0.0.1:{elsewhere.port}/api/v1/query" in str(error)
    assert "word" not in str(error)
    assert "token" not in str(error)


def sent_with(**more: str) -> Hostile:
    with hostile(says(OK)) as server:
        assert ask_value(client_of(server.url, **more), "up", AT) == 1
    return server


def test_credentials_are_sent_as_a_header_and_shown_nowhere() -> None:
    (request,) = sent_with(bearer="env:TOKEN").requests
    assert f"\r\nauthorization: bearer {SECRET}\r\n" in request.lower()
    (request,) = sent_with(username="ops", password="env:TOKEN").requests  # noqa: S106 - where it is, not what it is
    assert "\r\nauthorization: basic b3bzonmzy3izdc1kby1ub3qtc2hvdw==\r\n" in request.lower()
    client = client_of("http://ops:word@127.0.0.1:9/", bearer="env:TOKEN")
    assert SECRET not in repr(client)
    assert "word" not in repr(client)
    error = refusal(says(http(401, f"<p>{SECRET}</p>")), bearer="env:TOKEN")
    assert SECRET not in str(error)
    with pytest.raises(TypeError):
        client.__reduce__()


def test_the_environment_says_neither_a_proxy_nor_a_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ops password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    (request,) = sent_with().requests
    assert "authorization" not in request.lower()


def test_secrets_are_read_from_where_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    settings = PrometheusSettings(url="http://127.0.0.1:9", bearer="file:token")
    assert PrometheusClient.of(settings, root=tmp_path, environment={}).address == "http://127.0.0.1:9"
    (tmp_path / "token").write_text(f"{SECRET}\r\nX-More: 1")
    for wrong, words in (
        (settings, "from file:token, is empty or has unusable characters"),
        (PrometheusSettings(url="http://h", bearer="file:none"), "cannot be read from none: No such file"),
        (PrometheusSettings(url="http://h", bearer="env:ABSENT"), "not in the environment variable ABSENT"),
        (PrometheusSettings(url="http://h", username="u", password=SECRET), "neither as env:NAME nor as file:PATH"),
    ):
        with pytest.raises(PrometheusError, match=words) as caught:
            PrometheusClient.of(wrong, root=tmp_path, environment={})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "clear"),
    [("http://127.0.0.1:9090", False), ("http://localhost:9090", False), ("http://[::1]:9090", False),
     ("https://prometheus.example.org", False), ("http://prometheus.example.org", True)],
)  # fmt: skip
def test_credentials_on_their_way_in_the_clear_are_noticed(url: str, *, clear: bool) -> None:
    assert client_of(url, bearer="env:TOKEN").in_the_clear is clear
    assert not client_of(url).in_the_clear


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key in the same file."""
    place = tmp_path_factory.mktemp("tls")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(place / "key"), "-out", str(place / "own.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return place / "own.pem"


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    return context


def test_tls_is_believed_only_by_the_authority_that_is_named(certificate: Path, tmp_path: Path) -> None:
    with hostile(says(OK), tls=server_tls(certificate)) as server:
        with pytest.raises(PrometheusError, match="certificate verify failed") as caught:
            ask_value(client_of(server.url, bearer="env:TOKEN"), "up", AT)
        assert "ca_file" in caught.value.advice
        assert server.requests == []
        assert ask_value(client_of(server.url, ca_file=str(certificate)), "up", AT) == 1
        (tmp_path / "junk.pem").write_text("no certificate")
        for file in (tmp_path / "junk.pem", tmp_path / "none.pem"):
            with pytest.raises(PrometheusError, match="cannot be read"):
                ask_value(client_of(server.url, ca_file=str(file)), "up", AT)


def test_tls_spoken_to_a_server_without_it_is_one_clear_error() -> None:
    with hostile(says(OK)) as server, pytest.raises(PrometheusError, match="cannot be reached"):
        ask_value(client_of(server.url.replace("http:", "https:")), "up", AT)


def answering(answer: Callable[[str], bytes]) -> Behaviour:
    def behave(connection: socket.socket, request: str) -> None:
        connection.sendall(answer(request))

    return behave


def scalar(value: float, **more: object) -> bytes:
    body = {"status": "success", "data": {"resultType": "scalar", "result": [value, f"{value:.3f}"]}, **more}
    return http(200, json.dumps(body))


@pytest.mark.parametrize(
    ("away", "said"), [(0, ()), (29, ()), (-29, ()), (95, ("1m35s ahead of ours",)), (-3600, ("1h behind ours",))]
)
def test_a_clock_that_is_far_from_ours_is_said(tmp_path: Path, away: int, said: tuple[str, ...]) -> None:
    policy = policy_in(tmp_path, "slo_targets: {availability: 99.9%}")
    theirs = scalar((AT + timedelta(seconds=away)).timestamp())

    def answer(request: str) -> bytes:
        return theirs if "query=time%28%29" in request else http(200, vector())

    with hostile(answering(answer)) as server:
        (snapshot,) = measure((policy,), client_of(server.url), AT, now=AT)
    assert snapshot.unreachable is None
    assert snapshot.warnings == tuple(f"the clock of Prometheus is {each}" for each in said)


def in_halves(bad: str, **notes: Any) -> Callable[[str], bytes]:
    """Answer the two halves of the question about one promise: over long windows, and the rest."""
    long = vector(({"opsascode_part": "0.budget bad"}, bad), ({"opsascode_part": "0.budget total"}, "7"), **notes)
    rest = vector(({"opsascode_part": "0.last"}, "1700000000"), **notes)
    return lambda request: http(200, long if "budget" in request else rest)


def test_warnings_and_infos_of_prometheus_reach_the_snapshot(tmp_path: Path) -> None:
    policy = policy_in(tmp_path, "slo_targets: {availability: 99.9%}")
    notes = {"warnings": ["some samples are out of order\n"], "infos": ["metric might not be a counter"]}
    with hostile(answering(in_halves("NaN", **notes))) as server:
        (snapshot,) = measure((policy,), client_of(server.url), AT, now=datetime.fromtimestamp(1_700_000_000, UTC))
    (seen,) = snapshot.targets
    assert seen.counted is None
    assert seen.present
    assert snapshot.warnings[-3:] == (
        "availability: some samples are out of order",
        "availability: metric might not be a counter",
        "availability: Prometheus gives NaN for budget bad; that is no data",
    )


def test_one_promise_that_is_refused_leaves_the_others_measured(tmp_path: Path) -> None:
    spec = """
        slo_targets: {availability: 99.9%, other: {target: 99%, indicator: other}}
        indicators: {other: {bad: wrong_metric, total: other_metric}}
        """
    refused = http(422, json.dumps({"status": "error", "errorType": "execution", "error": "too many samples"}))
    measured = in_halves("1")

    def answer(request: str) -> bytes:
        return refused if "wrong_metric" in request else measured(request)

    with hostile(answering(answer)) as server:
        (snapshot,) = measure((policy_in(tmp_path, spec),), client_of(server.url), AT, now=AT)
    good, bad = snapshot.targets
    assert good.counted is not None
    assert good.problem is None
    assert snapshot.unreachable is None
    assert bad.problem is not None
    assert "too many samples" in bad.problem
    assert not bad.present


def test_what_is_wrong_with_one_service_is_not_said_of_those_that_share_its_question(tmp_path: Path) -> None:
    refused = http(422, json.dumps({"status": "error", "errorType": "execution", "error": "too many samples"}))
    plain, warned = in_halves("1"), in_halves("1", warnings=["out of order"])

    def answer(request: str) -> bytes:
        if "wrong" in request:
            return refused
        return (warned if "odd" in request else plain)(request)

    names = ("shop", "odd", "wrong", "cart")
    policies = [policy_in(tmp_path / each, "slo_targets: {availability: 99.9%}", each) for each in names]
    with hostile(answering(answer)) as server:
        found = measure(policies, client_of(server.url), AT, now=AT)
    assert [(each.service, len(each.warnings)) for each in found] == [
        ("shop", 1),
        ("odd", 2),
        ("wrong", 1),
        ("cart", 1),
    ]
    assert found[1].warnings[1] == "availability: out of order"
    assert [each.targets[0].problem is None for each in found] == [True, True, False, True]
    assert [each.targets[0].counted is None for each in found] == [False, False, True, False]


def test_a_server_that_is_down_is_said_in_the_snapshot(tmp_path: Path) -> None:
    policy = policy_in(tmp_path, "slo_targets: {availability: 99.9%}")
    (snapshot,) = measure((policy,), client_of(f"http://127.0.0.1:{free_port()}"), AT, now=AT)
    assert snapshot.unreachable is not None
    assert "cannot be reached" in snapshot.unreachable
    assert [each.counted for each in snapshot.targets] == [None]
