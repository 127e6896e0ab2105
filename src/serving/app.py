"""The web application: the answers, the dashboard's files, and what every response carries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from flask import Flask, Response, g, request, send_from_directory
from flask_compress import Compress

from braid.settings import Settings
from serving import guard, launch, logs, metrics, problems, routes
from serving.guard import Access
from serving.problems import Problem
from serving.repeats import Repeats, request_id
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
COMPRESSED = (
    "application/json", "application/problem+json", "text/csv", "text/html", "text/css", "text/javascript", "text/plain",
)  # fmt: skip


def create_app(settings: Settings, service: Service, access: Access | None = None) -> Flask:
    """Return the application over a service, which its caller starts.

    Parameters
    ----------
    settings : where the dashboard's files lie
    service : what follows the datasets; also `app.extensions["braid"]`
    access : who may ask and how often; by default everybody on this machine
    """
    access = access or Access()
    app = Flask("braid", static_folder=None)
    app.debug = False  # Flask asks the environment, and no environment may switch it on
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    app.config["COMPRESS_MIMETYPES"] = [*COMPRESSED]
    app.extensions["braid"] = service
    problems.install(app)
    requests = metrics.install(app, service)
    app.register_blueprint(routes.blueprint(service, secured=access.keys is not None))
    _dashboard(app, settings.root / "dashboard", settings.web_dir, settings.root / "data" / "ATTRIBUTION.md")
    # what is installed last sees the response first
    logs.install(app)
    _around(app)
    buckets = guard.install(app, access)
    Compress(app)
    if access.keys is None:  # else every request is looked at anew: a key may have been taken back
        app.wsgi_app = Repeats(app.wsgi_app, service.clock.now_us, buckets, requests)  # type: ignore[method-assign]
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
        g.request_id = request_id(request.headers.get("X-Request-ID", ""))
        if (request.content_length or 0) > MOST_BODY_BYTES:
            raise Problem(413, "too-large", f"expected a body of at most {MOST_BODY_BYTES} bytes; none is needed here")
        if len(request.query_string) > MOST_QUERY_BYTES:
            raise Problem(414, "too-long", f"expected a query of at most {MOST_QUERY_BYTES} bytes")

    @app.after_request
    def dress(response: Response) -> Response:
        response.headers.update(SECURITY)
        response.headers["X-Request-ID"] = g.get("request_id", "")
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve. This file is what is started, from any folder: `python src/serving/app.py`, or `braid serve`."""
    return launch.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
