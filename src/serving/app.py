"""The web application: the answers, the dashboard's files, and what every response carries."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from flask import Flask, Response, g, request, send_from_directory
from flask_compress import Compress

from braid.adapters import environment
from braid.errors import BraidError, SettingsError
from braid.settings import Settings
from serving import problems, routes
from serving.problems import Problem
from serving.service import Service

MOST_BODY_BYTES = 64 * 1024
MOST_QUERY_BYTES = 4096
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(settings: Settings, service: Service) -> Flask:
    """Return the application over a service, which its caller starts.

    Parameters
    ----------
    settings : where the dashboard's files lie
    service : what follows the datasets; also `app.extensions["braid"]`
    """
    app = Flask("braid", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    app.extensions["braid"] = service
    problems.install(app)
    app.register_blueprint(routes.blueprint(service))
    _dashboard(app, settings.root / "dashboard", settings.web_dir, settings.root / "data" / "ATTRIBUTION.md")
    _around(app)
    Compress(app)
    return app


def _dashboard(app: Flask, files: Path, vendor: Path, attribution: Path) -> None:
    @app.get("/")
    def index() -> Response:
        return _file(files, "index.html")

    @app.get("/docs")
    def docs() -> Response:
        return _file(files, "docs.html")

    @app.get("/static/<path:name>")
    def static(name: str) -> Response:
        return _file(files, name)

    @app.get("/static/vendor/<name>")
    def third_party(name: str) -> Response:
        return _file(vendor, name)

    @app.get("/attribution")
    def sources() -> Response:
        response = _file(attribution.parent, attribution.name)
        response.mimetype = "text/plain"
        return response


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name, conditional=True, etag=True)
    # always asked again, answered 304: a new version is never mixed with an old one
    response.headers["Cache-Control"] = "no-cache"
    return response


def _around(app: Flask) -> None:
    @app.before_request
    def name_and_bound() -> None:
        sent = request.headers.get("X-Request-ID", "")
        g.request_id = sent if _REQUEST_ID.fullmatch(sent) else os.urandom(8).hex()
        if (request.content_length or 0) > MOST_BODY_BYTES:
            raise Problem(413, "too-large", f"expected a body of at most {MOST_BODY_BYTES} bytes; none is needed here")
        if len(request.query_string) > MOST_QUERY_BYTES:
            raise Problem(414, "too-long", f"expected a query of at most {MOST_QUERY_BYTES} bytes")

    @app.after_request
    def dress(response: Response) -> Response:
        response.headers.update(SECURITY)
        response.headers["X-Request-ID"] = g.get("request_id", "")
        return response


def main(arguments: Sequence[str] | None = None) -> int:
    """Become gunicorn; returns only when that cannot be.

    This file is what is started, from any folder: `python src/serving/app.py`, or `braid serve`.
    """
    about = "Serve the API and the dashboard on the two loopback ports of the settings, in the foreground."
    argparse.ArgumentParser("braid serve", description=about).parse_args(arguments)
    try:
        ports = environment.load().ports
        if not (ports.api and ports.dashboard):
            raise SettingsError("BRAID_PORTS=free: expected ports that were chosen, got none yet; run `braid up` first")
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person reads
        return error.exit_code
    return _become_gunicorn()


def _become_gunicorn() -> NoReturn:
    here = Path(__file__).resolve()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(here.parents[1]), os.environ.get("PYTHONPATH"))))
    # a new process image: the folder of this file, first on the path of a script, is then no longer on it
    config = str(here.with_name("gunicorn_conf.py"))
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", config, "serving.server:app()"])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
