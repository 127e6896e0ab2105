"""One alert by its place in the log: read it, acknowledge it, take that back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from flask import Blueprint, Response, g, request

from braid.acknowledgements import MOST_NOTE, Acknowledgement
from braid.alerts import Alert
from braid.errors import StoreUnavailable
from serving import answers, params
from serving.problems import BadRequest, Fault, NotFound, Problem, Unavailable
from serving.replies import plain
from serving.service import Service

ONE = "/api/v1/datasets/<dataset>/alerts/<alert>/<topic>/<partition>/<offset>"


def install(api: Blueprint, service: Service, given: Callable[[], params.Given]) -> None:
    """Add the path of one alert, and that of its acknowledgement, to a blueprint."""

    def told(dataset: str, found: Alert) -> Response:
        declaration = service.snapshot(dataset).declaration
        rule = declaration.alert(found.rule)
        return plain({"data": answers.alert_row(declaration, rule, found, service.words(dataset))})

    @api.get(ONE)
    def one_alert(dataset: str, alert: str, topic: str, partition: str, offset: str) -> Response:
        params.no_query(given())
        return told(dataset, _found(service, dataset, (alert, topic, partition, offset)))

    @api.route(f"{ONE}/acknowledgement", methods=["GET", "PUT", "DELETE"])
    def acknowledgement(dataset: str, alert: str, topic: str, partition: str, offset: str) -> Response:
        params.no_query(given())
        found = _found(service, dataset, (alert, topic, partition, offset))
        if request.method in {"PUT", "DELETE"}:
            _say(service, dataset, found, acknowledged=request.method == "PUT")
        elif not answers.is_acknowledged(found, service.words(dataset)):
            raise Problem(404, "not-acknowledged", "acknowledgement: expected one, got none; PUT makes it")
        return told(dataset, found)


def _found(service: Service, dataset: str, place: tuple[str, str, str, str]) -> Alert:
    snapshot = service.snapshot(dataset)
    rules = [rule.name for rule in snapshot.declaration.alerts]
    if place[0] not in rules:
        raise NotFound("alert rule", place[0], rules)
    for alert in snapshot.recent.alerts:
        if (alert.rule, alert.topic, str(alert.partition), str(alert.offset)) == place:
            return alert
    raise Problem(
        404, "no-such-alert",
        f"alert: expected one of those that {request.path.split(place[0], maxsplit=1)[0]} lists, got {place[1]}:{place[2]}:{place[3]}",
    )  # fmt: skip


def _say(service: Service, dataset: str, alert: Alert, *, acknowledged: bool) -> None:
    note = _note()
    word = Acknowledgement(
        alert.rule, alert.topic, alert.partition, alert.offset, acknowledged, note,
        g.get("key_name", ""), service.clock.now_us(),
    )  # fmt: skip
    silent = service.silent("cassandra")
    if silent is not None:  # the store's own patience is half a minute, too long for a request
        raise Unavailable(f"cassandra: {silent.reason}", next="braid status")
    try:
        service.notes[dataset].say(word)
    except StoreUnavailable as error:
        raise Unavailable(f"acknowledgements: {error}", next="braid up") from error


def _note() -> str:
    """Return the note of the request's body, empty without one. Raises Problem 400 or 415."""
    body = request.get_data()
    if not body:
        return ""
    if request.mimetype != "application/json":
        got = request.mimetype or "none"
        raise Problem(415, "unsupported-media-type", f"Content-Type: expected application/json, got {got[:100]!r}")
    try:
        words: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest([Fault("$", 'a JSON object such as {"note": "known"}', str(error))]) from error
    if not isinstance(words, dict):
        raise BadRequest([Fault("$", 'a JSON object such as {"note": "known"}', type(words).__name__)])
    strangers = [
        Fault(f"$.{name[:100]}", "no field but note", str(words[name])[:100]) for name in words if name != "note"
    ]
    note = words.get("note", "")
    if not isinstance(note, str) or len(note) > MOST_NOTE:
        strangers.append(Fault("$.note", f"a text of at most {MOST_NOTE} characters", str(note)[:100]))
    if strangers:
        raise BadRequest(strangers)
    return str(note)
