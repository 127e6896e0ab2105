"""Structured logs: one line of JSON each, on stderr; plain text when a person looks on."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from contextlib import nullcontext
from typing import Any, TextIO

import orjson
from flask import Flask, Response, g, request

from braid.instants import iso

access = logging.getLogger("braid.access")
_LATE_S = 0.25


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
        text = orjson.dumps(line, default=str)
        # ASCII alone: a path may hold characters at which some readers of logs end a line
        return text.decode("ascii") if text.isascii() else json.dumps(line, default=str)


class Gathered(logging.StreamHandler[TextIO]):
    """Writes many lines at once, a quarter of a second late: a write a line makes every thread wait for the others.

    From a warning on, a line is written at once, after those before it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        atexit.register(self.flush)
        os.register_at_fork(after_in_child=self._begin)  # a worker has none of its parent's threads
        self._begin()

    def _begin(self) -> None:
        self._lines: deque[str] = deque()
        self._due = threading.Event()
        threading.Thread(target=self._write_late, args=(self._due,), name="log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a line, or write it, without the handler's lock: sixteen threads that wait for it cost more than the line."""
        if found := self.filter(record):
            self.emit(record)
        return bool(found)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, or write it."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as logging does: a line that cannot be formatted ends no request
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self._due.is_set():
            self._due.set()

    def flush(self) -> None:
        """Write what is kept."""
        with self.lock or nullcontext():
            lines = [self._lines.popleft() for _ in range(len(self._lines))]  # others may append meanwhile
            if lines:
                self.stream.write("".join(lines))
            super().flush()

    def _write_late(self, due: threading.Event) -> None:
        while due.wait():
            time.sleep(_LATE_S)
            due.clear()
            self.flush()


def config() -> dict[str, Any]:
    """Return what gunicorn hands to `logging.config`: everything on stderr."""
    form = {"()": "logging.Formatter", "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": form if sys.stderr.isatty() else {"()": "serving.logs.JsonLines"}},
        "handlers": {"stderr": {"class": "serving.logs.Gathered", "formatter": "line", "stream": "ext://sys.stderr"}},
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
    def after(response: Response) -> Response:
        took_s = time.perf_counter() - g.get("began_s", time.perf_counter())
        client, query = g.get("client", request.remote_addr), request.query_string.decode("latin-1")
        tell(g.get("request_id", ""), client, request.method, request.path, query, response.status_code, took_s)
        return response


def tell(request_id: str, client: str, method: str, path: str, query: str, status: int, took_s: float) -> None:
    """Write the line of one request."""
    fields = {
        "request_id": request_id,
        "client": client,
        "method": method,
        "path": path,
        "query": query[:1000],
        "status": status,
        "ms": round(took_s * 1000, 1),
    }
    level = logging.WARNING if status >= 500 else logging.INFO
    access.log(level, "%s %s %d", method, path, status, extra={"fields": fields})
