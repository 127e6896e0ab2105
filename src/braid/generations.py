"""Generations: what was published, and why a reader may believe what it reads of it.

When a generation is published, `current.audit` records per view how many rows it has, their totals and one sha256.
Whoever loads the generation, from files or from Hive, computes the same three from what it got, and serves nothing
unless they are equal: a lost file, a row twice or a digit changed on the way is an error and never an answer.

The sha256 of a view is over those of its parts (`hiveql.part_of`), and that of a part over its rows. So a batch run that
changes one part knows what the whole view adds up to without reading the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from braid import hiveql
from braid.aggregates import FP_MODULUS
from braid.declaration import ViewSpec
from braid.errors import AuditFailed
from braid.ledger import Current, LedgerRow
from braid.views import View, digest, totals


@dataclass(frozen=True, slots=True)
class Sums:
    """What vouches for the rows of one view or part: Σ n, Σ fp mod 2^64, their number, and the sha256 over them."""

    n: int
    fp: int
    rows: int
    digest: str


def sums_of(rows: View) -> Sums:
    """Return what vouches for the rows of one part."""
    n, fp = totals(rows)
    return Sums(n, fp, len(rows), digest(rows))


def joined(parts: Mapping[str, Sums]) -> Sums:
    """Return what vouches for a view, from what vouches for its parts, by name.

    Examples
    --------
    >>> joined({"b": Sums(1, 2**64 - 1, 1, "y"), "a": Sums(2, 3, 1, "x")}).fp
    2
    """
    text = "".join(f"{name} {held.digest}\n" for name, held in sorted(parts.items()))
    found = parts.values()
    return Sums(
        sum(held.n for held in found),
        sum(held.fp for held in found) % FP_MODULUS,
        sum(held.rows for held in found),
        hashlib.sha256(text.encode()).hexdigest(),
    )


def sums_of_view(spec: ViewSpec, view: View) -> Sums:
    """Return what vouches for all rows of a view."""
    return joined({name: sums_of(rows) for name, rows in hiveql.parts_of(spec, view).items()})


def vouched(current: Current) -> dict[str, Sums]:
    """Return what `current.audit` says of every view."""
    views = json.loads(current.audit or "{}").get("views", {})
    return {name: Sums(held["n"], held["fp"], held["rows"], held["digest"]) for name, held in views.items()}


@dataclass(frozen=True, slots=True)
class Unaudited:
    """Ledger rows first..last that were checked by counts alone, and why: expired, bulk, gap, definition."""

    seq: int
    through: int
    reason: str


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit looked at: how many seqs it compared on every state field, and which it could not."""

    checked: int = 0
    unaudited: tuple[Unaudited, ...] = ()


def audit_text(views: Mapping[str, Sums], audited: Audited, base: Mapping[str, int] | None = None) -> str:
    """Return the text of `current.audit`; `base` is `base_of` the generation, left out while it is nothing."""
    plain = {name: asdict(held) for name, held in views.items()}
    return json.dumps({"views": plain} | asdict(audited) | ({"base": dict(base)} if base else {}), sort_keys=True)


def base_of(current: Current) -> dict[str, int]:
    """Return what the ledger's running sums lack of the counts of the generation's declaration, by name.

    Nothing for a declaration of genesis; after a changed one the difference, the same at every row under it.
    """
    found: dict[str, int] = json.loads(current.audit or "{}").get("base", {})
    return found


def counts(row: LedgerRow, current: Current) -> dict[str, int]:
    """Return the running sums of a ledger row as the served generation's declaration counts.

    Examples
    --------
    >>> from braid.ledger import Range
    >>> row = LedgerRow(3, "micro", 1, "w", Range({}, {}), totals={"good": 7, "dead": 1, "fp": 2})
    >>> counts(row, Current(1, 2, {}, "d", '{"base": {"good": -2, "dead": 2, "fp": -3}}'))
    {'good': 5, 'dead': 3, 'fp': 18446744073709551615}
    """
    base = base_of(current)
    found = {name: held + base.get(name, 0) for name, held in row.totals.items()}
    return found | ({"fp": found["fp"] % FP_MODULUS} if "fp" in found else {})


def check(current: Current, spec: ViewSpec, view: View, source: str) -> None:
    """Compare what was loaded of a view with what was published.

    Parameters
    ----------
    current : Current, of a generation above 0
    spec, view : the view as declared, and its rows
    source : str, where the rows came from, for the error

    Raises
    ------
    AuditFailed
        Any of rows, n, fp and sha256 differs; the text names both.
    """
    recorded = vouched(current)
    expected = recorded.get(spec.name)
    if expected is None:
        raise AuditFailed(
            f"generation {current.gen}: {source}: expected {spec.name} among its views, got only "
            f"{', '.join(recorded)}; the generation is of another definition: run the batch"
        )
    got = sums_of_view(spec, view)
    if got != expected:
        raise AuditFailed(
            f"generation {current.gen}: {source}: {spec.name}: expected {expected.rows} rows with n {expected.n}, "
            f"fp {expected.fp}, sha256 {expected.digest}, got {got.rows} rows with n {got.n}, fp {got.fp}, "
            f"sha256 {got.digest}; it is not served: run the batch again"
        )
