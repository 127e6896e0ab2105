"""Rollback: an older generation is served again, when it and what came after it still give every answer.

An answer is the generation plus the fragments after its cut. So going back needs the older generation whole, and the
fragments of every ledger row since its cut whole too; both are checked before the pointer is moved, by the same
compare-and-set as a publication. Hive's plain names follow last, as they do there. The number that was left is never
used again: the next batch takes one that no file, partition or `current` has ever had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from batch_layer import publish
from batch_layer.publish import Stores
from braid import gaps, generations, views
from braid.adapters.files import Publication
from braid.declaration import Declaration
from braid.errors import RollbackRefused
from braid.ledger import Current, LedgerRow
from braid.ports import Fragments

ROWS_AT_ONCE = 500  # ledger rows whose fragments are in memory together
State = Literal["served", "kept", "removed", "left"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One generation as `braid generations` lists it.

    Attributes
    ----------
    state : served; kept (it can be gone back to); removed (its files are gone); left (rolled back from, or never served)
    """

    publication: Publication
    state: State


def listed(stores: Stores, current: Current) -> list[Listed]:
    """Return every generation of which there is a report, the oldest first."""
    reports = {report.current.gen: report for report in stores.files.publications()}
    chain = _chain(stores, current.gen)
    kept = _kept(stores, chain)

    def state(gen: int) -> State:
        if gen == current.gen:
            return "served"
        return "left" if gen not in chain else "kept" if gen in kept else "removed"

    return [Listed(report, state(gen)) for gen, report in reports.items()]


def target(stores: Stores, declaration: Declaration, served: Current, to: int | None) -> Current:
    """Return the generation to go back to, as it was published.

    Parameters
    ----------
    to : its number; None for the one that was served before

    Raises
    ------
    RollbackRefused
        It is not kept, was never served before the served one, is damaged, or is of another definition.
    """
    where = declaration.dataset
    kept = _kept(stores, _chain(stores, served.gen)[1:])
    gen = kept[0] if to is None and kept else to
    if gen is None or gen not in kept:
        known = ", ".join(map(str, kept)) or "none"
        raise RollbackRefused(
            f"{where}: expected a generation served before {served.gen} and still kept ({known}), got {gen or 'none'}; "
            f"see `braid generations {where}`"
        )
    damage = stores.files.damage(gen)
    if damage:
        raise RollbackRefused(f"{where}: generation {gen}: expected its files as they were written: {damage}")
    report = stores.files.publication(gen)
    current = report.current if report else stores.files.published(gen, generations.base_of(served))
    if current.definition != served.definition:
        raise RollbackRefused(
            f"{where}: generation {gen}: expected one of the declaration in force, {served.definition[:12]}, "
            f"got {current.definition[:12]}; a changed declaration is not gone back over"
        )
    return current


def _chain(stores: Stores, gen: int) -> list[int]:
    """Return the generations that were served one before the other, `gen` first: by their reports, which stay."""
    found: list[int] = []
    while gen > 0 and gen not in found:
        found.append(gen)
        report = stores.files.publication(gen)
        gen = report.previous if report else next(iter(stores.files.chain(gen, 2)[1:]), 0)
    return found


def _kept(stores: Stores, gens: Sequence[int]) -> list[int]:
    return [gen for gen in gens if stores.files.chain(gen, 1)]


def check_whole(declaration: Declaration, older: Current, rows: Sequence[LedgerRow], fragments: Fragments) -> None:
    """Check that every ledger row after an older cut can still be answered from its fragments.

    Parameters
    ----------
    rows : the ledger rows after `older`'s cut, up to and with head

    Raises
    ------
    RollbackRefused
        Names the first row that cannot, and the view.
    """
    lost = gaps.lost(rows)
    micro = [row for row in rows if row.kind == "micro" and row.seq not in lost]
    for row in rows:
        if row.kind in {"bulk", "definition"}:
            raise _refused(declaration, older, row.seq, f"is of kind {row.kind}, which has no fragments")
    for start in range(0, len(micro), ROWS_AT_ONCE):
        some = micro[start : start + ROWS_AT_ONCE]
        for spec in declaration.fragment_views:
            broken = views.not_whole(spec.name, some, fragments.read(spec, some))
            if broken:
                raise _refused(declaration, older, broken[0], f"has not all its fragments of {spec.name} any more")


def steps(
    stores: Stores, declaration: Declaration, fragments: Fragments, served: Current, to: int | None
) -> Iterator[str]:
    """Go back to an older generation, yielding the name of each step when it is done.

    Parameters
    ----------
    served : Current, as it was when this began: when it is another one by now, nothing changes
    to : number of the generation, None for the one served before

    Raises
    ------
    RollbackRefused, LostRace
        The served generation stays.
    """
    older = target(stores, declaration, served, to)
    rows = stores.ledger.rows(older.cut_seq, stores.ledger.head().seq)
    check_whole(declaration, older, rows, fragments)
    yield "checked"
    publish.register(stores, declaration, stores.files.manifest(older.gen))
    yield "partition_added"
    stores.ledger.publish(older, served.gen)
    yield "published"
    publish.repair(stores, declaration, older)
    yield "served"


def _refused(declaration: Declaration, older: Current, seq: int, why: str) -> RollbackRefused:
    return RollbackRefused(
        f"{declaration.dataset}: generation {older.gen} (cut at seq {older.cut_seq}): expected to answer what came after it "
        f"from fragments, but ledger seq {seq} {why}; answers would stop before it, so the served generation stays"
    )
