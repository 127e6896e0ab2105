"""Requests that were answered before, answered again ahead of Flask: viewers who poll send the same bytes every time.

A response is held with what it hangs on, its `Basis`: the snapshot, what was missing, how long its relative times mean the
same. As long as that stands, the same request has the same response, but for the headers that tell of the moment, which
are made anew. Everything else goes to Flask, and so does every request where keys are asked for.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from flask import request

from braid.instants import iso
from serving import logs
from serving.bounded import Bounded
from serving.metrics import Requests
from serving.rates import Buckets, Taken

MOST = 512
MOST_BYTES = 32 * 2**20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MARK = "braid.basis"
# what of a request its answer depends on, beside the method; a request with any other condition or a body is Flask's
_KEYED = (
    "RAW_URI", "PATH_INFO", "QUERY_STRING", "SCRIPT_NAME", "wsgi.url_scheme", "HTTP_HOST", "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING", "HTTP_IF_NONE_MATCH",
)  # fmt: skip
_FOREIGN = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_RANGE", "HTTP_AUTHORIZATION")
_MOMENT = frozenset({
    "x-request-id", "x-braid-freshness-s", "x-braid-generated-at", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
})  # fmt: skip

Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
Wsgi: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer hangs on, beside its request.

    Attributes
    ----------
    since_us, until_us : the clock's times between which the question means the same
    freshness_s : returns how old the answer may be, in seconds; None once there may be another
    """

    since_us: int
    until_us: int
    freshness_s: Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class _Held:
    basis: Basis
    route: str
    status: str
    headers: Headers
    body: bytes


def note(basis: Basis) -> None:
    """Tell what the answer to the request at hand hangs on."""
    request.environ[_MARK] = (basis, request.url_rule.rule if request.url_rule else request.path)


def request_id(sent: str) -> str:
    """Return the id of a request: the one it was sent with, or one of its own."""
    return sent if _REQUEST_ID.fullmatch(sent) else f"{random.getrandbits(64):016x}"


def rate_headers(buckets: Buckets, taken: Taken) -> Headers:
    """Return what a client is told of its rate."""
    return [
        ("RateLimit-Limit", str(buckets.burst)),
        ("RateLimit-Remaining", str(taken.left)),
        ("RateLimit-Reset", str(taken.wait_s)),
    ]


class Repeats:
    """A WSGI application that answers repeated requests itself.

    Parameters
    ----------
    wsgi : the application that answers the others
    now_us : microseconds UTC
    buckets, requests : as the application's own hooks use them
    """

    def __init__(self, wsgi: Wsgi, now_us: Callable[[], int], buckets: Buckets, requests: Requests) -> None:
        self._wsgi = wsgi
        self._now_us = now_us
        self._buckets = buckets
        self._requests = requests
        self._held: Bounded[tuple[str | None, ...], _Held] = Bounded(MOST, MOST_BYTES, lambda held: len(held.body))

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        began_s = time.perf_counter()
        if environ["REQUEST_METHOD"] != "GET" or any(environ.get(name) for name in _FOREIGN):
            return self._wsgi(environ, start_response)
        key = tuple(environ.get(name) for name in _KEYED)
        held = self._held.get(key)
        if held is not None:
            now_us = self._now_us()
            stands = held.basis.since_us <= now_us <= held.basis.until_us
            freshness_s = held.basis.freshness_s() if stands else None
            if freshness_s is not None and (taken := self._taken(environ)) is not None:
                return self._again(held, environ, start_response, began_s, now_us, freshness_s, taken)
        return self._first(key, environ, start_response)

    def _taken(self, environ: Environ) -> Taken | None:
        taken = self._buckets.take(environ.get("REMOTE_ADDR") or "")
        return taken if taken.allowed else None  # Flask refuses it in its own words

    def _again(
        self, held: _Held, environ: Environ, start_response: Callable[..., Any], began_s: float, now_us: int,
        freshness_s: float, taken: Taken,
    ) -> Iterable[bytes]:  # fmt: skip
        name = request_id(environ.get("HTTP_X_REQUEST_ID", ""))
        moment = [
            ("X-Braid-Freshness-S", f"{freshness_s:.3f}"),
            ("X-Braid-Generated-At", iso(now_us)),
            ("X-Request-ID", name),
            *rate_headers(self._buckets, taken),
        ]
        start_response(held.status, held.headers + moment)
        status, took_s = int(held.status[:3]), time.perf_counter() - began_s
        self._requests.add("GET", held.route, status, took_s)
        logs.tell(
            name, environ.get("REMOTE_ADDR") or "", "GET", environ["PATH_INFO"], environ.get("QUERY_STRING", ""), status, took_s
        )  # fmt: skip
        return [held.body]

    def _first(
        self, key: tuple[str | None, ...], environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        said: list[tuple[str, Headers]] = []

        def start(status: str, headers: Headers, *more: Any) -> Any:
            said.append((status, headers))
            return start_response(status, headers, *more)

        answer = self._wsgi(environ, start)
        basis, route = environ.get(_MARK, (None, ""))
        status, headers = said[-1] if said else ("", [])
        if basis is None or status[:3] not in {"200", "304"}:
            return answer
        try:
            body = b"".join(answer)
        finally:
            getattr(answer, "close", lambda: None)()
        lasting = [header for header in headers if header[0].lower() not in _MOMENT]
        self._held.put(key, _Held(basis, route, status, lasting, body))
        return [body]
