"""What there is, for programs that draw or query it without knowing any dataset: the declarations, as answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from braid.cql import event_time_column
from braid.declaration import AlertRule, Declaration, ViewSpec
from serving.parameters import name_of_key


def address(declaration: Declaration) -> str:
    """Return the path below which a dataset answers."""
    return f"/api/v1/datasets/{declaration.dataset}"


def of_dataset(declaration: Declaration) -> dict[str, Any]:
    """Return one dataset: its topics, views, alerts and paths, with titles, units and addresses."""
    base = address(declaration)
    return {
        "dataset": declaration.dataset,
        "title": declaration.title,
        "description": declaration.description,
        "attribution": declaration.attribution,
        "definition": declaration.hash,
        "url": base,
        "topics": [topic.name for topic in declaration.topics],
        "views": [_view(declaration, view, base) for view in declaration.views],
        "alerts": [_alert(declaration, rule, base) for rule in declaration.alerts],
        "paths": [path.path for path in declaration.api],
        # what to type when something is not there yet
        "commands": {
            "stack": "braid up",
            "produce": f"braid produce {declaration.dataset}",
            "batch": f"braid batch {declaration.dataset}",
        },
    }


def _view(declaration: Declaration, view: ViewSpec, base: str) -> dict[str, Any]:
    fields = {name: f for topic in view.topics for name, f in declaration.topic(topic).columns.items()}
    return {
        "view": view.name,
        "title": view.title or view.name,
        "url": f"{base}/views/{quote(view.name)}",
        "by": list(view.by),
        "filters": {column: name_of_key(column) for column in view.by},
        # None: all time, one window
        "window_s": view.window_us / 1_000_000 if view.window_us else None,
        "measures": [
            {
                "measure": m.name,
                "of": m.of,
                "scale": m.scale,
                "unit": fields[m.of].unit,
                "meaning": fields[m.of].meaning,
            }
            for m in {m.name: m for m in view.measures if not m.texts}.values()
        ],
        "columns": [
            {"column": name, "measure": m.name, "stat": stat} for name, m, stat in view.finished if not m.texts
        ],
        "texts": [{"column": name} for name, m, _ in view.finished if m.texts],
        # how answers are cut, each row with its rank; None: every row is answered
        "top": asdict(view.top) if view.top else None,
        "publish": view.publish,
        # which columns a map takes its places, colours and sizes from; None: no map
        "map": asdict(view.map) if view.map else None,
        "words": [{"column": r.name, "of": r.of, "words": list(r.words)} for r in view.rules],
        "values": {c: list(fields[c].values or ()) for c in view.by if c in fields and fields[c].values},
    }


def _alert(declaration: Declaration, rule: AlertRule, base: str) -> dict[str, Any]:
    topic = declaration.topic(declaration.view(rule.baseline).topics[0])
    return {
        "alert": rule.name,
        "title": rule.title or rule.name,
        "url": f"{base}/alerts?alert={quote(rule.name)}",
        "by": list(rule.by),
        "filters": {column: name_of_key(column) for column in rule.by},
        "of": rule.of,
        "unit": topic.columns[rule.of].unit,
        "time": event_time_column(topic),
        "show": list(rule.show),
        "fields": {
            name: {"numeric": topic.columns[name].numeric, "scale": topic.columns[name].scale}
            for name in dict.fromkeys((rule.of, *rule.show))
        },
        "beyond": str(rule.beyond),
        "min_count": rule.min_count,
    }
