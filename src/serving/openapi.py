"""/openapi.json (3.1): the paths of the declared datasets, out of the parameters and columns that the code answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braid.acknowledgements import MOST_NOTE
from braid.declaration import ApiPath, Declaration, ViewSpec
from serving import catalog, columns, described, formats, parameters, schemas
from serving.columns import Column
from serving.parameters import Parameter
from serving.schemas import Schema, ref

VERSION = "1"
# what any request may be answered with, whatever it asks
_ALWAYS = (400, 405, 406, 413, 414, 421, 429)
_PROBLEMS: Mapping[int, str] = {
    400: "a parameter that cannot be used, each one named",
    401: "no key, or one that is not valid",
    403: "the key's scope does not allow it",
    404: "nothing of that name",
    405: "another method",
    406: "Accept names no format that there is",
    410: "the cursor's listing is no longer held: start again",
    413: "a body over 64 kB",
    414: "a query over 4 kB",
    415: "the body is not application/json",
    421: "without keys: a Host that is neither localhost nor an address",
    429: "too many requests; Retry-After says when to come back",
    503: "no answer yet, or not a complete one and strict=1; Retry-After says when to ask again",
}
_ANSWER_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "ETag": (
        "strong: (generation, seq, what is missing, the query); send it back as If-None-Match",
        {"type": "string"},
    ),
    "Link": ('`<…>; rel="next"`, when there is a next page', {"type": "string"}),
    "X-Request-ID": ("as it was sent, or made", {"type": "string"}),
    "X-Braid-As-Of": ("meta.as_of", {"type": "string"}),
    "X-Braid-Complete": ("meta.complete", {"type": "string", "enum": ["true", "false"]}),
    "X-Braid-Freshness-S": ("since when something newer may have been committed", {"type": "string"}),
}


def document(declarations: Sequence[Declaration], *, secured: bool = False) -> Schema:
    """Return the OpenAPI document of an API over some datasets.

    Parameters
    ----------
    secured : whether every path but the probes asks for a key
    """
    components: dict[str, Schema] = dict(schemas.COMPONENTS) | dict(described.COMPONENTS)
    paths = {path: {"get": made} for path, made in _fixed().items()}
    for declaration in declarations:
        paths |= _of_dataset(declaration, components)
    if secured:
        _with_keys(paths)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Braid",
            "version": VERSION,
            "description": "Every answer of a view is batch ⊕ tail, cut at a Kafka offset, and equals a recompute of the log up to there.",
        },
        "tags": [{"name": "Braid"}, *({"name": d.dataset, "description": d.title} for d in declarations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "made by `braid key create`"},
                "password": {"type": "http", "scheme": "basic", "description": "for browsers: any name, the key as password"},
            },
        },
    }  # fmt: skip


NOTE = {"type": "string", "maxLength": MOST_NOTE, "description": "why, for people"}
OPEN = ("/healthz", "/readyz")  # asked by machines that hold no key


def _with_keys(paths: Mapping[str, Schema]) -> None:
    for path, operations in paths.items():
        for operation in operations.values():
            operation["security"] = [] if path in OPEN else [{"key": []}, {"password": []}]
            if path not in OPEN:
                operation["responses"] |= {str(s): _problem(s) for s in (401, 403)}


# ---- paths that are always there -----------------------------------------------------------------------------------


def _fixed() -> dict[str, Schema]:
    any_object = {"type": "object"}
    data = schemas.object_of({"data": {"type": "array", "items": ref("Dataset")}}, ["data"])
    status = schemas.object_of({"datasets": {"type": "array", "items": ref("Status")}}, ["datasets"])
    return {
        "/api/v1/datasets": _plain("What is declared", data),
        "/api/v1/status": _plain("How far every dataset has come", status),
        "/metrics": {
            "summary": "The status, and how requests were answered, for Prometheus",
            "tags": ["Braid"],
            "responses": {"200": {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}}
            | {str(s): _problem(s) for s in _ALWAYS if s != 406},
        },
        "/openapi.json": _plain("This document", any_object),
        "/healthz": _plain("The process lives", any_object),
        "/readyz": _plain(
            "Each part, when it last answered", ref("Ready"), also={"503": _json("a part does not answer", ref("Ready"))}
        ),
    }  # fmt: skip


def _plain(summary: str, schema: Schema, tag: str = "Braid", also: Mapping[str, Schema] | None = None) -> Schema:
    responses = {"200": _json(summary, schema)} | {str(s): _problem(s) for s in _ALWAYS}
    return {"summary": summary, "tags": [tag], "responses": responses | dict(also or {})}


def _json(meaning: str, schema: Schema) -> Schema:
    return {"description": meaning, "content": {"application/json": {"schema": schema}}}


def _problem(status: int) -> Schema:
    found: Schema = {
        "description": _PROBLEMS[status],
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }
    if status in {429, 503}:
        found["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}}
    return found


# ---- paths of a dataset --------------------------------------------------------------------------------------------


def _of_dataset(declaration: Declaration, components: dict[str, Schema]) -> dict[str, Schema]:
    base = catalog.address(declaration)
    about = schemas.object_of({"data": ref("Dataset")}, ["data"])
    paths: dict[str, Schema] = {
        base: {"get": _plain(f"{declaration.title}: what is declared", about, declaration.dataset)}
    }
    for view in declaration.views:
        row = f"{declaration.dataset}.{view.name}"
        components[row] = schemas.of_view_rows(columns.of_view(declaration, view, state=True))
        schema = schemas.listing(ref(row), ref("Meta"))
        asked = parameters.of_view(declaration, view)
        paths[f"{base}/views/{view.name}"] = {"get": _rows(declaration, view.title or view.name, asked, schema)}
    if declaration.alerts:
        row = f"{declaration.dataset}.alerts"
        components[row] = _alert_row(columns.of_alerts(declaration, declaration.alerts, words=True))
        asked = parameters.of_alerts(declaration, declaration.alerts)
        schema = schemas.listing(ref(row), ref("Meta"))
        paths[f"{base}/alerts"] = {"get": _rows(declaration, "Alerts, newest event first", asked, schema)}
        one = f"{base}/alerts/{{alert}}/{{topic}}/{{partition}}/{{offset}}"
        word = _word(declaration, row)
        only = {"summary": "The alert, when it is acknowledged; else 404"}
        paths |= {one: {"get": word["get"]}, f"{one}/acknowledgement": word | {"get": word["get"] | only}}
    return paths | {path.path: {"get": _bare(declaration, path)} for path in declaration.api}


def _word(declaration: Declaration, row: str) -> Schema:
    answer = schemas.object_of({"data": ref(row)}, ["data"])
    places: Sequence[tuple[str, Schema]] = (
        ("alert", {"type": "string", "enum": [rule.name for rule in declaration.alerts]}),
        ("topic", {"type": "string", "enum": [topic.name for topic in declaration.topics]}),
        ("partition", {"type": "integer", "minimum": 0}),
        ("offset", {"type": "integer", "minimum": 0}),
    )
    where = [{"name": name, "in": "path", "required": True, "schema": schema} for name, schema in places]
    body = {"content": {"application/json": {"schema": schemas.object_of({"note": NOTE})}}}
    told = {
        "get": "One alert",
        "put": "Acknowledge it; again with the same note changes nothing",
        "delete": "Take that back",
    }
    found = {}
    for method, summary in told.items():
        also = (404, 503) if method == "get" else (404, 415, 503)
        made = _plain(summary, answer, declaration.dataset, {str(s): _problem(s) for s in also})
        found[method] = made | {"parameters": where} | ({"requestBody": body} if method == "put" else {})
    return found


def _alert_row(found: Sequence[Column]) -> Schema:
    return schemas.of_rows(found, [c.name for c in found if len(c.path) == 1 and not c.nullable])


def _bare(declaration: Declaration, path: ApiPath) -> Schema:
    if path.alerts is not None:
        rules = (declaration.alert(path.alerts),)
        asked = parameters.of_alerts(declaration, rules, one=True)
        row = _alert_row(columns.renamed(columns.of_alerts(declaration, rules), path.rename))
        return _rows(declaration, rules[0].title or rules[0].name, asked, {"type": "array", "items": row})
    view: ViewSpec = declaration.view(path.view or "")
    asked = parameters.of_view(declaration, view, fixed_layer=True)
    found = columns.renamed(columns.of_view(declaration, view, state=True), path.rename)
    title = f"{view.title or view.name}{': the newest window of each key' if path.newest_window else ''}"
    return _rows(declaration, title, asked, {"type": "array", "items": schemas.of_view_rows(found)})


def _rows(declaration: Declaration, summary: str, asked: Sequence[Parameter], schema: Schema) -> Schema:
    content = {formats.MEDIA["json"]: {"schema": schema}} | {
        formats.MEDIA[name]: {"schema": {"type": "string"}} for name in formats.MEDIA if name != "json"
    }
    headers = {name: {"description": text, "schema": kind} for name, (text, kind) in _ANSWER_HEADERS.items()}
    problems = {str(status): _problem(status) for status in (*_ALWAYS, 410, 503)}
    return {
        "summary": summary,
        "tags": [declaration.dataset],
        "parameters": [_parameter(p) for p in asked],
        "responses": {
            "200": {"description": "rows, and what they cover", "headers": headers, "content": content},
            "304": {"description": "the answer is the one whose ETag was sent"},
            **problems,
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: Schema = dict(parameter.schema)
    if parameter.repeatable:
        schema = {"type": "array", "items": schema}
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.meaning,
        "schema": schema,
    } | ({"style": "form", "explode": True} if parameter.repeatable else {})
