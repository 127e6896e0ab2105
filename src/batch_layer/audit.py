"""The audit: before a generation is published, the batch layer's numbers must be the speed layer's, seq by seq.

The two layers count the same records by different code: the one as they arrive, against a store of seen ids, with
vectorised integers; the other over the whole master, by the ids themselves, in Spark SQL. For every micro-batch between
the served cut and the new one, the fragments that the speed layer wrote must equal what the batch layer finds in the
same offsets, on every field of every state. One difference, and nothing is published: the old generation keeps serving
and the text names the key and the delta.

A fragment that has expired cannot be compared, and must not block the generation that makes it needless: its seq is
held to the ledger's counts alone, and listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from braid import gaps
from braid.aggregates import FIELDS, State, plain
from braid.declaration import Declaration, ViewSpec
from braid.errors import AuditFailed
from braid.generations import Audited, Unaudited
from braid.ledger import LedgerRow
from braid.ports import Fragments
from braid.views import Key, View, totals

ROWS_AT_ONCE = 500  # ledger rows whose fragments are held in memory together


@dataclass(frozen=True, slots=True)
class Counts:
    """What the batch layer found in the offsets of one seq: all records, the good (each id once), Σ of their hash64, the dead."""

    records: int = 0
    good: int = 0
    fp: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """What the batch layer found after the served cut, by seq: counts, and the states of each finest view."""

    counts: Mapping[int, Counts] = field(default_factory=dict)
    partials: Mapping[str, Mapping[int, View]] = field(default_factory=dict)


def audit(declaration: Declaration, rows: Sequence[LedgerRow], own: Own, fragments: Fragments) -> Audited:
    """Compare what both layers counted in each of some ledger rows.

    Parameters
    ----------
    declaration : Declaration in force; rows of another one are held to their number of records only
    rows : ledger rows after the served cut, up to and with the new one
    own : what the batch layer found in them
    fragments : what the speed layer wrote

    Returns
    -------
    Audited, how many seqs were compared on every field, and the others, with the reason

    Raises
    ------
    AuditFailed
        The layers differ.
    """
    checked, lost = 0, gaps.lost(rows)
    skipped: list[Unaudited] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        stored = {v.name: _by_seq(v, some, declaration.hash, fragments) for v in declaration.fragment_views}
        for row in some:
            given_up = row.seq in lost
            reason = _lost(declaration, row, own) if given_up else _audit_row(declaration, row, own, stored)
            if reason is None:
                checked += 1
            else:
                _list(skipped, row.seq, reason)
    return Audited(checked, tuple(skipped))


def _by_seq(
    view: ViewSpec, rows: Sequence[LedgerRow], definition: str, fragments: Fragments
) -> dict[int, dict[tuple[int, Key], State]]:
    # what another declaration counted may stand in tables of another shape, or in none
    micro = [row for row in rows if row.kind == "micro" and row.definition == definition]
    found: dict[int, dict[tuple[int, Key], State]] = {row.seq: {} for row in rows}
    for f in fragments.read(view, micro) if micro else []:
        found[f.seq][f.window_start_us, f.key] = f.state
    return found


def _lost(declaration: Declaration, row: LedgerRow, own: Own) -> str:
    """A row that a gap gave up: the batch layer must have nothing of it, and there is nothing to compare."""
    _equal(declaration, row, "records", own.counts.get(row.seq, Counts()).records, 0)
    return "gap"


def _audit_row(
    declaration: Declaration, row: LedgerRow, own: Own, stored: Mapping[str, Mapping[int, View]]
) -> str | None:
    """Return why a row could not be compared on every field, None when it was; raise when the layers differ."""
    counts = own.counts.get(row.seq, Counts())
    _equal(declaration, row, "records", counts.records, row.range.size - row.absent)
    if row.definition != declaration.hash:
        return "definition"
    reason: str | None = None if row.kind == "micro" else row.kind
    for spec in declaration.fragment_views if row.kind == "micro" else ():
        partial = own.partials.get(spec.name, {}).get(row.seq, {})
        whole = _compare(declaration, row, spec, partial, stored[spec.name][row.seq])
        reason = reason if whole else "expired"
    for name, mine, theirs in (
        ("good", counts.good, row.good),
        ("copies", counts.records - counts.good - counts.dead, row.copies),
        ("dead", counts.dead, row.dead),
        ("fp", counts.fp, row.fp),
    ):
        _equal(declaration, row, name, mine, theirs)
    return reason


def _compare(declaration: Declaration, row: LedgerRow, spec: ViewSpec, mine: View, theirs: View) -> bool:
    """Return whether all of a view's fragments are there; raise when any that is differs, or too much is there."""
    whole = totals(theirs) == (row.view_n.get(spec.name, 0), row.view_fp.get(spec.name, 0))
    differing = [place for place in sorted({*mine, *theirs}) if mine.get(place) != theirs.get(place)]
    # when rows of it have expired, what is left must still be right
    wrong = differing if whole else [place for place in differing if place in theirs]
    for place in wrong[:1]:
        where = f"{spec.name} [{_window(spec, place[0])}, {', '.join(place[1])}]"
        what = next(_differences(spec, mine.get(place), theirs.get(place)))
        raise _failed(declaration, row, f"{where} {what} ({len(wrong)} of {len({*mine, *theirs})} rows differ)")
    for name, own, ledger in zip(
        ("n", "fp"), totals(mine), (row.view_n.get(spec.name, 0), row.view_fp.get(spec.name, 0)), strict=True
    ):
        _equal(declaration, row, f"{spec.name} total {name}", own, ledger)
    return whole


def _differences(spec: ViewSpec, mine: State | None, theirs: State | None) -> Iterator[str]:
    """Yield each field in which two states differ, as text; a state that is not there counts as nothing."""
    empty = State(0, 0, ())
    a, b = mine or empty, theirs or empty
    for name in ("n", "fp"):
        if getattr(a, name) != getattr(b, name):
            yield _values(name, getattr(a, name), getattr(b, name))
    for measure, x, y in zip(spec.measures, a.measures, b.measures, strict=False):
        for name, mine_, theirs_ in zip(FIELDS[measure.kind], plain(x), plain(y), strict=True):
            if mine_ != theirs_:
                yield _values(f"{measure.name} {name}", mine_, theirs_)


def _values(name: str, mine: int | str | None, theirs: int | str | None) -> str:
    delta = f", delta {mine - theirs:+d}" if isinstance(mine, int) and isinstance(theirs, int) else ""
    return f"{name}: batch {mine}, speed {theirs}{delta}"


def _equal(declaration: Declaration, row: LedgerRow, name: str, mine: int, theirs: int) -> None:
    if mine != theirs:
        raise _failed(declaration, row, _values(name, mine, theirs))


def _failed(declaration: Declaration, row: LedgerRow, what: str) -> AuditFailed:
    return AuditFailed(
        f"{declaration.dataset}: ledger seq {row.seq}: {what}; nothing was published, the generation before keeps serving; "
        "both layers read the same offsets, so one of them is wrong: keep the log, the master and the fragments, and report it"
    )


def _window(spec: ViewSpec, start_us: int) -> str:
    if not spec.window_us:
        return "all time"
    return datetime.fromtimestamp(start_us // 10**6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _list(found: list[Unaudited], seq: int, reason: str) -> None:
    """Add a seq, extending the last entry when it goes on."""
    if found and (found[-1].through, found[-1].reason) == (seq - 1, reason):
        found[-1] = Unaudited(found[-1].seq, seq, reason)
    else:
        found.append(Unaudited(seq, seq, reason))
