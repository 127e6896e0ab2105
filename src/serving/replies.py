"""An answer as an HTTP response: ETag before any work, the body as it was asked for, the receipt in headers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response, request

from braid.gaps import as_dicts
from braid.instants import iso
from serving import formats
from serving.answers import Covered
from serving.bounded import Bounded

MOST_BODIES = 256
MOST_BYTES = 32 * 2**20
HEADER_BYTES = 2_000  # of one header, so that all fit what proxies take
ENCODINGS = ("", ":gzip", ":br", ":zstd", ":deflate")  # flask-compress adds the encoding to the strong ETag


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of an answer, what they are, its receipt, and where its next page is."""

    data: bytes
    receipt: str | None
    media: str = "application/json"
    following: str | None = None


class Bodies(Bounded[str, Body]):
    """The newest bodies by ETag: viewers who poll ask the same question of the same snapshot."""

    def __init__(self) -> None:
        super().__init__(MOST_BODIES, MOST_BYTES, lambda body: len(body.data))


def plain(value: Any) -> Response:
    """Return a value that changes by itself, such as a status: never cached. Raises Problem 406."""
    formats.chosen(None, ("json",))
    response = Response(orjson.dumps(value), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def fixed(value: Any) -> Response:
    """Return a value that changes with the declarations only: a strong ETag of its bytes. Raises Problem 406."""
    formats.chosen(None, ("json",))
    response = Response(orjson.dumps(value), mimetype="application/json")
    response.headers["Cache-Control"] = "no-cache"
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.make_conditional(request)
    return response


def reply(
    bodies: Bodies, covered: Covered, question: str, compute: Callable[[], Body], now_us: int, freshness_s: float
) -> Response:
    """Return the answer to a question, or 304 when the client holds it.

    Parameters
    ----------
    question : text that is equal for equal questions only
    compute : called when neither the client nor `bodies` holds the answer
    now_us, freshness_s : go into headers; the body does not depend on them
    """
    etag = covered.etag(question)
    for encoding in ENCODINGS:
        if request.if_none_match.contains(etag + encoding) and not request.if_none_match.star_tag:
            response = Response(status=304)
            response.set_etag(etag + encoding)
            return _with_receipt(response, covered, None, now_us, freshness_s)
    body = bodies.get(etag)
    if body is None:
        body = compute()
        bodies.put(etag, body)
    response = Response(body.data, mimetype=body.media)
    response.set_etag(etag)
    if body.following is not None:
        response.headers["Link"] = f'<{body.following}>; rel="next"'
    return _with_receipt(response, covered, body.receipt, now_us, freshness_s)


def _with_receipt(
    response: Response, covered: Covered, receipt: str | None, now_us: int, freshness_s: float
) -> Response:
    headers = response.headers
    headers["Cache-Control"] = "no-cache"
    headers["Vary"] = "Accept"
    headers["X-Braid-As-Of"] = _short(covered.snapshot.as_of(covered.what).as_dict())
    headers["X-Braid-Complete"] = "true" if covered.complete else "false"
    headers["X-Braid-Definition"] = covered.snapshot.declaration.hash
    headers["X-Braid-Freshness-S"] = f"{freshness_s:.3f}"
    headers["X-Braid-Generated-At"] = iso(now_us)
    if not covered.complete:
        headers["X-Braid-Missing"] = _short([m.as_dict() for m in covered.missing])
    if accepted := covered.snapshot.accepted(covered.what):
        headers["X-Braid-Gaps"] = _short(as_dicts(accepted))
    if receipt is not None and len(receipt) <= HEADER_BYTES:  # a cut one could not be checked
        headers["X-Braid-Receipt"] = receipt
    return response


def _short(value: Any) -> str:
    """Return JSON in ASCII, as headers must be; too long a text is cut, for the body of /api/v1 has it whole."""
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= HEADER_BYTES else text[: HEADER_BYTES - 1] + "~"
