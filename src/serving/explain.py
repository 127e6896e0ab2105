"""How a row was merged: what of it the generation holds, and what each later ledger row added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from braid.declaration import ViewSpec
from braid.ports import Fragments, Ledger
from braid.views import Fragment, View, coarsen, put
from serving.grid import Place
from serving.snapshot import Snapshot

Shape = Callable[[View], View]
Explain = Callable[[Place], Mapping[str, Any]]


def of_rows(
    snapshot: Snapshot, spec: ViewSpec, ledger: Ledger, fragments: Fragments, layer: str, shape: Shape
) -> Explain:
    """Return what explains the rows of a view.

    Parameters
    ----------
    shape : how their states are chosen and rolled up

    Raises
    ------
    StoreUnavailable
        The store of the fragments did not answer.
    """
    cut, row, fine = snapshot.tail.cut, snapshot.tail.row, snapshot.declaration.finest(spec)
    lost = snapshot.tail.lost
    rows = (
        []
        if layer == "batch"
        else [r for r in ledger.rows(cut.seq, row.seq) if r.kind == "micro" and r.seq not in lost]
    )
    by_seq: dict[int, list[Fragment]] = {}
    for fragment in fragments.read(fine, rows) if rows else []:
        by_seq.setdefault(fragment.seq, []).append(fragment)
    batch = shape({} if layer == "speed" else snapshot.generation.views[spec.name])
    parts = {seq: shape(_view(some, fine, spec)) for seq, some in sorted(by_seq.items())}

    def explain(place: Place) -> Mapping[str, Any]:
        old = batch.get(place)
        base = {"generation": snapshot.generation.current.gen, "cut_seq": cut.seq, "n": old.n} if old else None
        added = [{"seq": seq, "n": view[place].n} for seq, view in parts.items() if place in view]
        return {"generation": base, "fragments": added}

    return explain


def _view(some: list[Fragment], fine: ViewSpec, spec: ViewSpec) -> View:
    found: dict[Place, Any] = {}
    for fragment in some:
        put(found, (fragment.window_start_us, fragment.key), fragment.state)
    return found if fine.name == spec.name else coarsen(found, fine, spec)
