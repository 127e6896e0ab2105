"""Structured logs: one line of JSON each, on stderr; plain text when a person looks on."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from flask import Flask, Response, g, request

from braid.instants import iso

access = logging.getLogger("braid.access")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: at, level, logger, message, the fields it was given, the exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "at": iso(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            # a warning is expected and has been dealt with, as when a driver retries: its words are enough
            whole = record.levelno >= logging.ERROR
            line["exception"] = self.formatException(record.exc_info) if whole else repr(record.exc_info[1])
        # ASCII alone: a path may hold characters at which some readers of logs end a line
        return json.dumps(line, default=str)


def config() -> dict[str, Any]:
    """Return what gunicorn hands to `logging.config`: everything on stderr."""
    form = {"()": "logging.Formatter", "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": form if sys.stderr.isatty() else {"()": "serving.logs.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            name: {"level": "INFO", "handlers": ["stderr"], "propagate": False} for name in ("gunicorn.error", "braid")
        },
    }


def install(app: Flask) -> None:
    """Let an application write one line per request, with its id. No header is logged, hence no key."""

    @app.before_request
    def begin() -> None:
        g.began_s = time.perf_counter()

    @app.after_request
    def tell(response: Response) -> Response:
        fields = {
            "request_id": g.get("request_id", ""),
            "client": g.get("client", request.remote_addr),
            "method": request.method,
            "path": request.path,
            "query": request.query_string.decode("latin-1")[:1000],
            "status": response.status_code,
            "ms": round((time.perf_counter() - g.get("began_s", time.perf_counter())) * 1000, 1),
        }
        text = f"{request.method} {request.path} {response.status_code}"
        access.log(logging.WARNING if response.status_code >= 500 else logging.INFO, text, extra={"fields": fields})
        return response
