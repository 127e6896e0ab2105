"""A Flask route that returns the bytes of a file, always the same: what the server and the framework alone can do."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from flask import Flask, Response, request


def application() -> Flask:
    """Return the application."""
    body = Path(os.environ["BENCH_BODY"]).read_bytes()
    etag = hashlib.sha256(body).hexdigest()[:32]
    app = Flask("bench-bare")

    @app.get("/bare")
    def bare() -> Response:
        response = Response(body, mimetype="application/json")
        response.set_etag(etag)
        if request.if_none_match.contains(etag):
            response = Response(status=304)
            response.set_etag(etag)
        return response

    return app
