"""What gunicorn loads in its worker: `serving.server:app()`."""

from flask import Flask

from braid.adapters import environment
from serving.wiring import application


def app() -> Flask:
    """Return the application of this process's settings, following its datasets."""
    return application(environment.load())
