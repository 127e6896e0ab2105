"""gunicorn's worker with threads, and two things it lacks: patience has an end, and its own errors are problems too.

A thread reads a request's line and headers however slowly they come, so a few clients that send a byte now and then
would hold all threads. The main loop, which wakes at least once a second, ends a connection whose request is not whole
after ten seconds; its thread finds it closed.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

PATIENCE_S = 10.0


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker that waits ten seconds for a request and answers in problem+json whatever it refuses itself."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reading: dict[int, tuple[float, socket.socket]] = {}
        self._guard = threading.Lock()

    def handle(self, conn: Any) -> Any:
        """Read and answer one request of a connection, in a thread."""
        with self._guard:
            self._reading[id(conn)] = (time.monotonic(), conn.sock)
        try:
            return super().handle(conn)
        finally:
            self._read(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request whose headers are there."""
        self._read(conn)
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """Called by the main loop once a second: end what has kept a thread waiting for too long."""
        super().murder_pending()
        with self._guard:
            slow = [sock for since_s, sock in self._reading.values() if time.monotonic() - since_s > PATIENCE_S]
        for sock in slow:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RD)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that gunicorn could not read, as a problem."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("request from %s: %s", (addr or ("",))[0], exc)
        with suppress(OSError):
            client.sendall(refusal(exc))

    def _read(self, conn: Any) -> None:
        with self._guard:
            self._reading.pop(id(conn), None)


def refusal(error: BaseException) -> bytes:
    """Return the whole response to a request that cannot be read."""
    status = HTTPStatus.BAD_REQUEST
    if isinstance(error, LimitRequestLine):
        status = HTTPStatus.REQUEST_URI_TOO_LONG
    elif isinstance(error, LimitRequestHeaders):
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    name = status.phrase.lower().replace(" ", "-")
    detail = f"the request cannot be read: {str(error)[:200]}"
    problem = {"type": f"urn:braid:problem:{name}", "title": status.phrase, "status": status.value, "detail": detail, "instance": "", "request_id": ""}  # fmt: skip
    body = orjson.dumps(problem)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\r\n"
    )
    return head.encode("ascii") + body
