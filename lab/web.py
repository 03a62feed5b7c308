#!/usr/bin/env python3
"""What does one host of the lab serve? A small site over HTTP, and over HTTPS where it has a certificate.

`GET /health` answers 200 while all of this holds, and 503 with the reasons otherwise:
- the site's directory has its `index.html` (it can be lost, as a disk or a deployment can be);
- the logs stay below their quota (they can fill up).

Everything is looked at anew on each request, so the service turns unhealthy the moment its world does. The certificate
is read once, at the start: renewing it takes a restart, as with most servers. Only 127.0.0.1 is listened on.
Not here: who starts, stops and breaks it (`lab/lab`).
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MIB = 1024 * 1024


def ailments(site: Path, logs: Path, quota_mib: int) -> list[str]:
    """List what keeps this service from being healthy, in words."""
    found = []
    if not (site / "index.html").is_file():
        found.append(f"the site {site.name!r} has lost its index.html")
    used = sum(entry.stat().st_size for entry in logs.rglob("*") if entry.is_file())
    if used > quota_mib * MIB:
        found.append(f"the logs take {used // MIB} MiB of a quota of {quota_mib} MiB")
    return found


class Site(BaseHTTPRequestHandler):
    """Answers `/` and `/health`; each server class below carries what it serves."""

    site: Path
    logs: Path
    quota_mib: int

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/health":
            found = ailments(self.site, self.logs, self.quota_mib)
            body = {"status": "unhealthy" if found else "ok", "site": self.site.name, "reasons": found}
            self.answer(503 if found else 200, "application/json", json.dumps(body).encode())
        elif self.path == "/" and (self.site / "index.html").is_file():
            self.answer(200, "text/html; charset=utf-8", (self.site / "index.html").read_bytes())
        else:
            self.answer(404, "text/plain", b"not found\n")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve_https(handler: type[Site], port: int, tls: Path) -> None:
    """Serve HTTPS beside HTTP, in a thread of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Serve until a signal ends it."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--home", type=Path, required=True, help="the host's directory")
    words.add_argument("--site", default="site", help="the site's directory below it (default: %(default)s)")
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--tls-port", type=int, required=True)
    words.add_argument("--quota-mib", type=int, default=16, help="how much the logs may take (default: %(default)s)")
    given = words.parse_args()

    what = {"site": given.home / given.site, "logs": given.home / "logs", "quota_mib": given.quota_mib}
    handler = type("Serving", (Site,), what)
    if (given.home / "tls" / "cert.pem").is_file():
        serve_https(handler, given.tls_port, given.home / "tls")
    print(f"serving {given.site} on port {given.port}", file=sys.stderr, flush=True)
    ThreadingHTTPServer(("127.0.0.1", given.port), handler).serve_forever()


if __name__ == "__main__":
    main()
