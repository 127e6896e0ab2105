"""What gunicorn loads in its worker: `serving.server:app(asks for keys, requests a second)`."""

from __future__ import annotations

from flask import Flask

from braid.adapters import environment, failpoints
from braid.adapters.keys import KeyFile
from serving.guard import OPEN_RATE_PER_S, Access
from serving.wiring import application


def app(keyed: bool = False, rate_per_s: float = OPEN_RATE_PER_S) -> Flask:
    """Return the application of this process's settings, following its datasets."""
    settings = environment.load()
    failpoints.arm(settings)
    return application(settings, Access(KeyFile(settings.keys) if keyed else None, rate_per_s))
