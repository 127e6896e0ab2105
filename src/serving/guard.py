"""Who may ask, and how often: keys, scopes, rates. Everything is decided here before a route is looked at."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request

from braid.adapters.keys import Key, KeyFile, Scope
from braid.errors import SettingsError
from serving.openapi import OPEN
from serving.problems import Problem
from serving.rates import Buckets
from serving.repeats import rate_headers

READING = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_RATE_PER_S = 20000.0  # on loopback without keys: a bound against a script gone wild, not against its user
KEYED_RATE_PER_S = 100.0


@dataclass(frozen=True, slots=True)
class Access:
    """How an API lets people in.

    Attributes
    ----------
    keys : the keys, None when none are asked for: then only a browser that knows the server by an address or as
        localhost is answered, so that no web page can point a name of its own at it
    rate_per_s : requests a second per key, or per address; twice as many at once
    """

    keys: KeyFile | None = None
    rate_per_s: float = OPEN_RATE_PER_S
    monotonic: Callable[[], float] = field(default=time.monotonic)


def install(app: Flask, access: Access) -> Buckets:
    """Let an application ask every request for what `access` wants of it; return the clients' buckets."""
    buckets = Buckets(access.rate_per_s, int(2 * access.rate_per_s), access.monotonic)

    @app.before_request
    def let_in() -> None:
        key, refusal = _key(access)
        g.key_name = key.name if key else ""
        g.client = f"key {key.id}" if key else (request.remote_addr or "")
        taken = buckets.take(g.client)
        g.taken = taken
        if not taken.allowed:
            raise Problem(
                429, "too-many-requests",
                f"expected at most {buckets.rate_per_s:g} requests a second, got more; come back in {taken.wait_s} s",
                headers={"Retry-After": str(taken.wait_s)},
            )  # fmt: skip
        if refusal is not None:
            raise refusal

    @app.after_request
    def tell_rate(response: Response) -> Response:
        if "taken" in g:
            response.headers.update(rate_headers(buckets, g.taken))
        return response

    return buckets


def _key(access: Access) -> tuple[Key | None, Problem | None]:
    """Return the key of the request at hand, and why the request is refused, if it is."""
    if access.keys is None:
        return None, None if _is_ours(request.host) else _misdirected()
    if request.path in OPEN:
        return None, None
    try:
        key = access.keys.find(_token())
    except SettingsError:
        return None, Problem(503, "unavailable", "the API keys cannot be read; see the log of the server")
    if key is None:
        challenge: dict[str, Any] = {"WWW-Authenticate": 'Bearer realm="braid", Basic realm="braid", charset="UTF-8"'}
        return None, Problem(
            401, "no-key", "expected a key, as `Authorization: Bearer …`, got none that is valid", headers=challenge
        )
    scope: Scope = "read" if request.method in READING else "admin"
    if not key.allows(scope):
        return key, Problem(
            403, "scope", f"expected a key of scope {scope} for {request.method}, got one of scope {key.scope}"
        )
    return key, None


def _token() -> str:
    sent = request.authorization
    if sent is None:
        return ""
    # a browser asks its user for a name and a password; the name does not matter
    return (sent.token if sent.type == "bearer" else sent.password if sent.type == "basic" else None) or ""


def _is_ours(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if host.count(":") == 1 else host.partition("]")[0].strip("[")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _misdirected() -> Problem:
    return Problem(
        421, "misdirected",
        f"Host: expected localhost or an address, got {request.host[:200]!r}; to answer under a name, ask for keys (--require-keys)",
    )  # fmt: skip
