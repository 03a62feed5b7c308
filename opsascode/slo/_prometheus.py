"""How is Prometheus asked? The one room that talks HTTP to it.

Every question has a deadline as a whole, from the connection to the last byte, however slowly the bytes drip; all
questions together have one too. An answer has a largest size. A redirect is not followed and the proxies and passwords
of the environment are not used, so that credentials go where the repository says, and nowhere else. They are read when
a client is made, are in no representation of it, and in no message.

Not here: what is asked and what an answer means (`_answer`, `_measure`).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from opsascode.slo._answer import PrometheusError, Reply, read_reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import httpx

    from opsascode.repo import PrometheusSettings
    from opsascode.slo._answer import Question

AT_ONCE: Final = 8
"""How many questions are under way at once: below the 20 that Prometheus answers at once by default."""
MOST_BYTES: Final = 32 * 1024 * 1024
_WHOLE: Final = 3
"""All questions together may take this many times as long as one: a dead server is not asked a hundred times."""
_MOST_SECRET: Final = 65536
_PRINTABLE: Final = frozenset(range(0x20, 0x7F))

Answered: TypeAlias = "Reply | PrometheusError"


class PrometheusClient:
    """A Prometheus, and what lets us in. Made by `of`; has no representation that says a secret."""

    __slots__ = ("_authorization", "_ca_file", "_shown", "_timeout", "_url")

    def __init__(
        self, url: str, *, timeout: timedelta, ca_file: Path | None = None, authorization: str | None = None
    ) -> None:
        """Keep where to ask; `authorization` is the whole value of the header."""
        self._url = url.rstrip("/")
        self._timeout = timeout.total_seconds()
        self._ca_file = ca_file
        self._authorization = authorization
        self._shown = _without_userinfo(self._url)

    def __repr__(self) -> str:
        """Say where, and never how we are let in."""
        return f"PrometheusClient({self._shown!r})"

    def __reduce__(self) -> Any:  # noqa: ANN401 - as object declares it
        """Refuse to be copied out."""
        msg = "a client with credentials is not written anywhere"
        raise TypeError(msg)

    @property
    def address(self) -> str:
        """Where it is, to be shown."""
        return self._shown

    @property
    def in_the_clear(self) -> bool:
        """Whether credentials travel unencrypted to another machine."""
        parts = urlsplit(self._url)
        return self._authorization is not None and parts.scheme == "http" and not _is_here(parts.hostname or "")

    @classmethod
    def of(cls, settings: PrometheusSettings, *, root: Path, environment: Mapping[str, str]) -> PrometheusClient:
        """Make a client as `opsascode.yml` says; paths are relative to the repository's root.

        Raises:
            PrometheusError: a secret is not where it should be.
        """
        return cls(
            settings.url,
            timeout=settings.timeout,
            ca_file=None if settings.ca_file is None else root / Path(settings.ca_file).expanduser(),
            authorization=_authorization(settings, root, environment),
        )

    def ask(self, question: Question) -> Reply:
        """Ask one question.

        Raises:
            PrometheusError: there is no answer.
        """
        (answered,) = self.ask_all((question,))
        if isinstance(answered, PrometheusError):
            raise answered
        return answered

    def ask_all(self, questions: Sequence[Question]) -> tuple[Answered, ...]:
        """Ask several questions, some at once; gives a reply or what went wrong for each, in their order."""
        try:
            import httpx  # noqa: F401, PLC0415 - an extra; keeps --help quick
        except ImportError:
            lacks = PrometheusError(
                "asking Prometheus needs opsascode[reliability]", advice="pip install 'opsascode[reliability]'"
            )
            return tuple(lacks for _ in questions)
        try:
            return asyncio.run(self._ask_all(questions))
        except PrometheusError as error:
            return tuple(error for _ in questions)

    async def _ask_all(self, questions: Sequence[Question]) -> tuple[Answered, ...]:
        import httpx  # noqa: PLC0415 - an extra; keeps --help quick

        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "opsascode"}
        if self._authorization is not None:
            headers["authorization"] = self._authorization
        ends = asyncio.get_running_loop().time() + _WHOLE * self._timeout
        turns = _Turns(asyncio.Semaphore(AT_ONCE))
        async with httpx.AsyncClient(
            headers=headers,
            timeout=self._timeout,
            verify=self._trust(),
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE),
        ) as client:
            return tuple(await asyncio.gather(*(self._in_turn(client, each, turns, ends) for each in questions)))

    async def _in_turn(self, client: httpx.AsyncClient, question: Question, turns: _Turns, ends: float) -> Answered:
        """Ask when it is this question's turn; where nobody was there for another one, nobody is asked again."""
        import httpx  # noqa: PLC0415 - an extra; keeps --help quick

        async with turns.semaphore:
            if turns.nobody is not None:
                return turns.nobody
            whole = ends - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, min(whole, self._timeout))):
                    return read_reply(*await self._send(client, question))
            except PrometheusError as error:
                return error
            except (TimeoutError, httpx.TimeoutException):
                return self._too_slow(whole)
            except httpx.ConnectError as error:
                turns.nobody = self._nobody(error)
                return turns.nobody
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                return PrometheusError(f"{self._shown} broke off in the middle: {_reason(error)}")

    async def _send(self, client: httpx.AsyncClient, question: Question) -> tuple[int, str, bytes]:
        """Send one request and take in what comes back, as long as it is not too much."""
        address = f"{self._url}/api/v1/{question.path}"
        if question.post:
            words: dict[str, list[str]] = {}
            for name, value in question.words:
                words.setdefault(name, []).append(value)
            if question.path.startswith("query"):
                words["timeout"] = [f"{self._timeout:g}s"]  # else it goes on computing what nobody waits for
            request = client.build_request("POST", address, data=words)
        else:
            request = client.build_request("GET", address, params=list(question.words))
        response = await client.send(request, stream=True)
        try:
            if response.is_redirect:
                raise _redirected(self._shown, response.headers.get("location", ""))
            if response.headers.get("content-encoding", "identity") != "identity":
                raise PrometheusError(f"{self._shown} sends a compressed answer, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise PrometheusError(f"{self._shown} sends more than {MOST_BYTES >> 20} MiB")
            return response.status_code, response.headers.get("content-type", ""), bytes(body)
        finally:
            await response.aclose()

    def _trust(self) -> ssl.SSLContext:
        """Give whom TLS believes; nobody where no TLS is spoken, as reading all authorities takes long."""
        if not self._url.lower().startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ssl.SSLError) as error:
            raise PrometheusError(
                f"the certificates in {self._ca_file} cannot be read: {getattr(error, 'strerror', None) or error}",
                advice="see spec.prometheus.ca_file in opsascode.yml: a file of certificates in PEM form",
            ) from None

    def _too_slow(self, whole: float) -> PrometheusError:
        if whole <= self._timeout:
            took = f"all questions together would take longer than {_WHOLE * self._timeout:g} s"
        else:
            took = f"no whole answer within {self._timeout:g} s"
        return PrometheusError(f"{self._shown} is too slow: {took}", advice="see spec.prometheus.timeout")

    def _nobody(self, error: Exception) -> PrometheusError:
        reason = _reason(error)
        advice = "is Prometheus running, and is spec.prometheus.url in opsascode.yml right?"
        if "certificate" in reason.lower() or "ssl" in reason.lower():
            advice = "see spec.prometheus.ca_file in opsascode.yml: whose certificates are believed"
        return PrometheusError(f"{self._shown} cannot be reached: {reason}", advice=advice)


class _Turns:
    """Whose turn it is, and whether anybody was there at all."""

    __slots__ = ("nobody", "semaphore")

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self.semaphore = semaphore
        self.nobody: PrometheusError | None = None


def _authorization(settings: PrometheusSettings, root: Path, environment: Mapping[str, str]) -> str | None:
    if settings.bearer is not None:
        return f"Bearer {_secret(settings.bearer, 'bearer', root, environment)}"
    if settings.username is not None:
        password = _secret(settings.password, "password", root, environment) if settings.password else ""
        return f"Basic {base64.b64encode(f'{settings.username}:{password}'.encode()).decode()}"
    return None


def _secret(place: str, what: str, root: Path, environment: Mapping[str, str]) -> str:
    """Read a secret from where the settings say it is; no message ever shows it."""
    kind, _, name = place.partition(":")
    if kind == "env":
        found = environment.get(name, "")
        if not found:
            raise PrometheusError(f"the {what} for Prometheus is not in the environment variable {name}")
    elif kind == "file":
        try:
            with (root / Path(name).expanduser()).open("rb") as file:
                found = file.read(_MOST_SECRET).decode("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise PrometheusError(f"the {what} for Prometheus cannot be read from {name}: {reason}") from None
    else:
        raise PrometheusError(f"the {what} for Prometheus is named neither as env:NAME nor as file:PATH")
    if not found or not _PRINTABLE.issuperset(found.encode()):
        raise PrometheusError(f"the {what} for Prometheus, from {kind}:{name}, is empty or has unusable characters")
    return found


def _redirected(shown: str, location: str) -> PrometheusError:
    target = _without_userinfo(location[:200]) or "nowhere"
    return PrometheusError(
        f"{shown} sends us on to {target}; a redirect is not followed, as credentials would travel along",
        advice="write the final address in spec.prometheus.url of opsascode.yml",
    )


def _without_userinfo(url: str) -> str:
    """Give an address as it may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    """Say what a failure of the network was, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
