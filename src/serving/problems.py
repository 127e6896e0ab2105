"""Errors as RFC 9457 problems: what happened, which parameter, what was expected, what to do next; never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

log = logging.getLogger("braid.serving")

RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One parameter that cannot be used."""

    parameter: str
    expected: str
    got: str


class Problem(Exception):
    """An answer that is an error.

    Attributes
    ----------
    status : HTTP status
    name : the last word of the problem's type
    detail : for people
    headers : of the response
    more : further members, such as `errors`, `missing`, `next`
    """

    def __init__(
        self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.headers = headers or {}
        self.status = status
        self.name = name
        self.detail = detail
        self.more = more


class BadRequest(Problem):
    """Parameters that cannot be used: 400, each with what was expected and what stood there."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        detail = f"{first.parameter}: expected {first.expected}, got {first.got!r}"
        super().__init__(400, "bad-parameter", detail, errors=[asdict(fault) for fault in faults])


class NotFound(Problem):
    """Nothing of that name: 404, with the names there are."""

    def __init__(self, what: str, name: str, known: Sequence[str]) -> None:
        there = f"expected one of {', '.join(known)}" if known else "there are none"
        super().__init__(404, f"no-such-{what}", f"{what}: {there}, got {name[:200]!r}", known=list(known))


class Unavailable(Problem):
    """No answer can be given for now: 503, with the reason and the command that mends it."""

    def __init__(self, detail: str, **more: Any) -> None:
        super().__init__(503, "unavailable", detail, **more)


def response_of(problem: Problem) -> Response:
    """Return the problem as `application/problem+json`."""
    body = {
        "type": f"urn:braid:problem:{problem.name}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
        "request_id": g.get("request_id", ""),
        **problem.more,
    }
    response = Response(orjson.dumps(body), problem.status, mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.headers.update(problem.headers)
    return response


_DETAILS: Mapping[int, str] = {
    404: "no such path; GET /api/v1/datasets lists what there is",
}


def install(app: Flask) -> None:
    """Let every error of an application leave as a problem."""

    @app.errorhandler(Problem)
    def _of_ours(problem: Problem) -> Response:
        return response_of(problem)

    @app.errorhandler(HTTPException)
    def _of_http(error: HTTPException) -> Response:
        status = error.code or 500
        name = HTTPStatus(status).phrase.lower().replace(" ", "-")
        detail = _DETAILS.get(status) or (error.description or "")
        if isinstance(error, MethodNotAllowed):
            detail = f"expected one of {', '.join(sorted(error.valid_methods or ()))}, got {request.method}"
        response = response_of(Problem(status, name, detail))
        for header, value in error.get_headers():
            if header not in {"Content-Type", "Content-Length"}:
                response.headers[header] = value
        return response

    @app.errorhandler(Exception)
    def _of_nobody(error: Exception) -> Response:
        log.error("request %s: %s %s", g.get("request_id", ""), request.method, request.path, exc_info=error)
        detail = "an error of Braid itself; the log has it under this request id"
        return response_of(Problem(500, "internal-error", detail))
