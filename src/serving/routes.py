"""The paths: a few lines each. Parameters in, one snapshot taken, an answer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from braid.declaration import ApiPath, Declaration, ViewSpec
from braid.errors import LedgerError, StoreUnavailable
from serving import answers, catalog, openapi, pages, params, repeats, words
from serving.answers import Answer, Covered
from serving.explain import Explain, Shape, of_rows
from serving.params import Query
from serving.problems import NotFound, Unavailable
from serving.repeats import Basis
from serving.replies import Bodies, Body, fixed, plain, reply
from serving.service import Service
from serving.snapshot import Snapshot


def blueprint(service: Service, *, secured: bool = False) -> Blueprint:
    """Return every path under /api, what describes them and the two probes, over a running service.

    Parameters
    ----------
    secured : whether the paths ask for a key, as /openapi.json then says
    """
    api = Blueprint("api", __name__)
    bodies = Bodies()

    @api.get("/api/v1/datasets")
    def datasets() -> Response:
        params.no_query(_given())
        return fixed({"data": [catalog.of_dataset(service.declaration(name)) for name in service.followers]})

    @api.get("/api/v1/datasets/<dataset>")
    def dataset(dataset: str) -> Response:
        params.no_query(_given())
        return fixed({"data": catalog.of_dataset(service.declaration(dataset))})

    @api.get("/api/v1/datasets/<dataset>/views/<view>")
    def view(dataset: str, view: str) -> Response:
        _spec(service.declaration(dataset), view)
        return _view(service, bodies, dataset, ApiPath(request.path, view, None, "merged", False, {}), bare=False)

    @api.get("/api/v1/datasets/<dataset>/alerts")
    def alerts(dataset: str) -> Response:
        return _alerts(service, bodies, dataset, None, {}, bare=False)

    words.install(api, service, _given)

    @api.get("/api/v1/status")
    def status() -> Response:
        params.no_query(_given())
        return plain({"datasets": [service.status(name) for name in service.followers]})

    @api.get("/openapi.json")
    def described() -> Response:
        params.no_query(_given())
        return fixed(openapi.document([service.declaration(name) for name in service.followers], secured=secured))

    @api.get("/healthz")
    def healthz() -> Response:
        params.no_query(_given())
        return plain({"status": "alive"})

    @api.get("/readyz")
    def readyz() -> Response:
        params.no_query(_given())
        found = _readiness(service)
        response = plain(found)
        if not found["ready"]:
            response.status_code = 503
            response.headers["Retry-After"] = "2"
        return response

    @api.get("/api/<path:rest>")
    def declared(rest: str) -> Response:
        for name in service.followers:
            declaration = service.declaration(name)
            for path in declaration.api:
                if path.path == f"/api/{rest}":
                    return _declared(service, bodies, declaration, path)
        raise NotFound("path", request.path, _paths(service))

    return api


def _declared(service: Service, bodies: Bodies, declaration: Declaration, path: ApiPath) -> Response:
    if path.alerts is not None:
        return _alerts(service, bodies, declaration.dataset, path.alerts, path.rename, bare=True)
    return _view(service, bodies, declaration.dataset, path, bare=True)


def _view(service: Service, bodies: Bodies, dataset: str, path: ApiPath, *, bare: bool) -> Response:
    snapshot = service.snapshot(dataset)
    spec = _spec(snapshot.declaration, path.view or "")
    fixed = path.layer if bare else None
    read = partial(params.view_query, _given(), snapshot.declaration, spec, fixed=fixed)
    now_us = service.clock.now_us()
    query = read(now_us)
    snapshot = service.of_listing(service.earlier(snapshot, query), query.cursor)
    spec = _spec(snapshot.declaration, spec.name)
    covered = service.covered(snapshot, query.layer, query)
    told = partial(_told, service, snapshot, spec, query) if query.explain else None
    compute = partial(answers.of_view, covered, spec, query, path.newest_window, service.hurry(), told)
    page = pages.Page(query, path.rename, bare=bare)
    question = f"{path.path if bare else spec.name} {bare} {page.format} {query.canonical()}"
    response = _reply(service, bodies, covered, question, compute, page)
    _note(service, covered, read, query, now_us, response)
    return response


def _alerts(
    service: Service, bodies: Bodies, dataset: str, rule: str | None, rename: Mapping[str, str], *, bare: bool
) -> Response:
    snapshot = service.snapshot(dataset)
    rules = snapshot.declaration.alerts if rule is None else (snapshot.declaration.alert(rule),)
    now_us = service.clock.now_us()
    given, declaration = _given(), snapshot.declaration
    read = partial(params.alert_query, given, declaration, rules, one=rule is not None)
    query = read(now_us)
    if query.alert is not None:
        rules = (snapshot.declaration.alert(query.alert),)
    snapshot = service.of_listing(snapshot, query.cursor)
    covered = service.covered(snapshot, "alerts", query)
    # paths that earlier users know stay as they know them
    said_of = None if bare else service.words(dataset)
    compute = partial(answers.of_alerts, covered, rules, query, said_of)
    page = pages.Page(query, rename, bare=bare)

    def said() -> str:
        return "" if bare or dataset not in service.notes else service.notes[dataset].revision

    before = said()
    question = f"alerts {before} {[r.name for r in rules]} {dict(rename)} {bare} {page.format} {query.canonical()}"
    response = _reply(service, bodies, covered, question, compute, page)
    _note(service, covered, read, query, now_us, response, lambda: said() == before)
    return response


def _reply(
    service: Service, bodies: Bodies, covered: Covered, question: str, compute: Callable[[], Answer], page: pages.Page
) -> Response:
    def body() -> Body:
        return page.body(compute(), covered.snapshot)

    response = reply(bodies, covered, question, body, service.clock.now_us(), service.freshness_s(covered.snapshot))
    if "Link" in response.headers:
        service.pins.pin(covered.snapshot)
    return response


def _note(
    service: Service,
    covered: Covered,
    read: Callable[[int], Query],
    query: Query,
    now_us: int,
    response: Response,
    same: Callable[[], bool] = lambda: True,
) -> None:
    """Tell what the answer hangs on: then the request can be answered again without any of this."""
    dataset, what, basis = covered.snapshot.declaration.dataset, covered.what, covered.basis
    follower = service.followers[dataset]
    # one with a next page keeps its snapshot for that page; one of the past does not follow the newest
    if query.explain or "Link" in response.headers or covered.snapshot is not follower.snapshot:
        return

    def freshness_s() -> float | None:
        newest = follower.snapshot
        if newest is None or not same() or service.covered(newest, what).basis != basis:
            return None
        return service.freshness_s(newest)

    repeats.note(Basis(now_us, params.until_us(read, query, now_us), freshness_s))


def _told(service: Service, snapshot: Snapshot, spec: ViewSpec, query: Query, shape: Shape) -> Explain:
    stores = service.stores(snapshot.declaration.dataset)
    try:
        return of_rows(snapshot, spec, stores.ledger, stores.fragments, query.layer, shape)
    except (StoreUnavailable, LedgerError) as error:
        raise Unavailable(f"explain: {error}") from error


def _spec(declaration: Declaration, view: str) -> ViewSpec:
    if view not in {v.name for v in declaration.views}:
        raise NotFound("view", view, [v.name for v in declaration.views])
    return declaration.view(view)


def _readiness(service: Service) -> dict[str, Any]:
    """Return what each part last said. Answers need Cassandra and HiveServer2; Kafka is asked for the lag only."""
    parts = {
        name: {
            "ok": service.answers(contact),
            "needed": name != "kafka",
            "latency_ms": round(contact.latency_s * 1000, 1),
            "error": contact.error or None,
        }
        for name, contact in service.contacts().items()
    }
    loaded = {
        name: {"answers": follower.snapshot is not None, "loading": service.loading(follower)}
        | ({"gap": gap[0].reason} if (gap := service.gap(name)) else {})
        | ({"log": why} if (why := service.unlogged(name)) else {})
        | ({} if follower.snapshot else {"reason": service.reason(follower)[0]})
        for name, follower in service.followers.items()
    }
    ready = all(part["ok"] for part in parts.values() if part["needed"])
    return {"ready": ready, "parts": parts, "datasets": loaded}


def _paths(service: Service) -> list[str]:
    declared = [path.path for name in service.followers for path in service.declaration(name).api]
    return [*declared, "/api/v1/datasets", "/api/v1/status", "/openapi.json"]


def _given() -> Mapping[str, Sequence[str]]:
    return dict(request.args.lists())
