"""An HTTP server on the loopback that does to its client whatever a test wants: raw bytes, slowly, or not at all."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    Behaviour: TypeAlias = "Callable[[socket.socket, str], None]"


_TLS_HANDSHAKE = 0x16


@dataclass(kw_only=True)
class Hostile:
    """A server that runs, and the requests that reached it (head and body as text)."""

    port: int
    stopping: threading.Event
    requests: list[str] = field(default_factory=list)
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextmanager
def hostile(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    """Serve every connection with a behaviour, which is given the connection and one request."""
    stopping = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            connection.settimeout(30)
            try:
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                request = _read_request(connection)
                if request:
                    told.requests.append(request)
                    behaviour(connection, request)
            except OSError:
                pass  # the client has left, as it should
            finally:
                connection.close()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        told = Hostile(port=server.server_address[1], stopping=stopping, scheme="https" if tls else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield told
        finally:
            stopping.set()
            server.shutdown()
            thread.join()


def http(status: int, body: bytes | str, *, kind: str = "application/json", **headers: str) -> bytes:
    """Write a whole HTTP answer."""
    data = body.encode() if isinstance(body, str) else body
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Some Words\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}Connection: close\r\n\r\n"
    return head.encode() + data


def says(answer: bytes) -> Behaviour:
    """Answer every request with these bytes."""

    def behave(connection: socket.socket, _: str) -> None:
        connection.sendall(answer)

    return behave


def vector(*series: tuple[dict[str, str], str], at: float = 1_700_000_000.0, **more: Any) -> str:
    """Write the answer to an instant query."""
    result = [{"metric": labels, "value": [at, value]} for labels, value in series]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more})


def _read_request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return ""
        data += chunk
        if data[0] == _TLS_HANDSHAKE:
            return "TLS"
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.partition(b":")[2]) for line in head.lower().splitlines() if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()
