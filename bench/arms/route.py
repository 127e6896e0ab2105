"""The route of the arms that are not Braid, on the same Flask and gunicorn: how many events of a class a table holds."""

from __future__ import annotations

import os

import orjson
from flask import Flask, Response, request

from bench.arms import tables
from braid.adapters.cassandra.session import opened


def application() -> Flask:
    """Return the application; called in the worker, after the fork."""
    store = opened(os.environ["BENCH_CASSANDRA_HOST"], int(os.environ["BENCH_CASSANDRA_PORT"]))
    table = os.environ["BENCH_TABLE"]
    tables.create(store, table)
    session = store._session
    select = session.prepare(tables.SELECT.format(table=table))
    app = Flask("bench-arm")

    @app.get("/n")
    def counted() -> Response:
        rows = list(session.execute(select, (request.args["class_name"],)))
        return Response(orjson.dumps({"n": sum(n for _, n in rows)}), mimetype="application/json")

    return app
