"""A receipt, or an answer with its receipt, held against the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from braid import gaps, receipts, views
from braid.declaration import Declaration, Measure, Rule, ViewSpec
from braid.errors import BraidError, ReceiptRefused
from braid.instants import iso
from braid.ledger import LedgerRow, offsets_of
from braid.receipts import Receipt
from verify import kinds
from verify.difference import FIELDS, smallest, where
from verify.second_path import Place, Plain, SecondPath, State, States, plain
from verify.world import Read, Say, World, ends, recounted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim is true, in words and numbers."""

    equal: bool
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A receipt, and the answer's own rows under the view's names of columns, with `state`, where they are there too."""

    receipt: Receipt
    rows: Sequence[Mapping[str, Any]] | None = None


def check(world: World, claims: Sequence[Claim], say: Say) -> list[Verdict]:
    """Recompute what receipts of one dataset claim from the raw records, by the second path.

    The records are read once for all receipts of one definition, up to the newest of them: whether an event counts does
    not depend on where an answer ends. (An accepted gap changes that, so receipts before and after it are read apart.)

    Returns
    -------
    list of Verdict, in the order of `claims`; a receipt that speaks of another ledger is told so in its verdict

    Raises
    ------
    MasterRefused, Gap, StoreUnavailable
        The records cannot be read as they were archived.
    """
    head = world.stores.ledger.head()
    ledger = world.stores.ledger.rows(-1, max(min(c.receipt.seq, head.seq) for c in claims))
    found: dict[int, Verdict] = {}
    groups: dict[tuple[str, int], list[int]] = {}
    for i, claim in enumerate(claims):
        try:
            _same_ledger(claim.receipt, ledger, head.seq)
        except ReceiptRefused as error:
            found[i] = Verdict(False, str(error), {"equal": False, "difference": str(error)})
        else:
            gap = ledger[claim.receipt.seq].totals.get("gap", 0)
            groups.setdefault((claim.receipt.definition, gap), []).append(i)
    for (definition, _), indexes in groups.items():
        some = {i: claims[i] for i in indexes}
        found |= _recomputed(world, definition, ledger[: 1 + max(c.receipt.seq for c in some.values())], some, say)
    return [found[i] for i in range(len(claims))]


def _recomputed(
    world: World, definition: str, ledger: Sequence[LedgerRow], claims: Mapping[int, Claim], say: Say
) -> dict[int, Verdict]:
    started = time.monotonic()
    found: dict[int, Verdict] = {}
    declaration = world.declared(definition, ledger)
    with recounted(world, declaration, ledger, say) as (path, read):
        say(f"{read.text} read in {time.monotonic() - started:.1f} s")
        for i, claim in claims.items():
            try:
                found[i] = _verdict(world, path, declaration, claim, read, started)
            except ReceiptRefused as error:
                found[i] = Verdict(False, str(error), {"equal": False, "difference": str(error)})
    return found


def _verdict(
    world: World, path: SecondPath, declaration: Declaration, claim: Claim, read: Read, started: float
) -> Verdict:
    receipt, spec = claim.receipt, _view(declaration, claim.receipt)
    found = path.answered(spec, receipt.question, receipt.cut_seq, receipt.seq)
    wrong = _wrong(world, path, spec, claim, found)
    n = sum(state[0] for state in found.values())
    facts = {
        "equal": wrong is None, "view": spec.name, "rows": len(found), "events": n, "seq": receipt.seq,
        "generation": receipt.generation, "records_read": read.master + read.kafka, "difference": wrong,
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if wrong is not None:
        return Verdict(False, f"different: {wrong}", facts)
    covered = ends(offsets_of(receipt.offsets))
    text = (
        f"equal: {len(found):,} rows, {n:,} events of {spec.name} as of generation {receipt.generation}, seq {receipt.seq} "
        f"({covered}), recomputed from {read.text} in {facts['seconds']} s"
    )
    return Verdict(True, text, facts)


def _same_ledger(receipt: Receipt, ledger: Sequence[LedgerRow], head_seq: int) -> None:
    """Check that the receipt's row is the one it speaks of. Raises ReceiptRefused."""
    if not 0 <= receipt.cut_seq <= receipt.seq <= head_seq:
        raise ReceiptRefused(
            f"receipt: expected a cut seq and a seq up to head, seq {head_seq}, got {receipt.cut_seq} and {receipt.seq}; "
            "it is of another instance of Braid, or the ledger is older than the answer"
        )
    row = ledger[receipt.seq]
    if dict(row.end) != offsets_of(receipt.offsets):
        raise ReceiptRefused(
            f"receipt: expected the end of ledger seq {receipt.seq}, {ends(row.end)}, "
            f"got {ends(offsets_of(receipt.offsets))}; it is of another instance of Braid"
        )


def _view(declaration: Declaration, receipt: Receipt) -> ViewSpec:
    known = {view.name: view for view in declaration.views}
    if receipt.view not in known:
        raise ReceiptRefused(f"receipt: expected one of the views {', '.join(known)}, got {receipt.view!r}")
    return known[receipt.view]


def _wrong(world: World, path: SecondPath, spec: ViewSpec, claim: Claim, found: States) -> str | None:
    receipt, rows = claim.receipt, claim.rows
    shaped = _shaped(spec, receipt)
    if rows is not None:
        given = {_place(shaped, row): row for row in rows}
        told = smallest(shaped, found, {place: _state(shaped, row) for place, row in given.items()}, "the answer")
        told = told or next(
            (t for place, row in given.items() if (t := _finished(shaped, place, found[place], row))), None
        )
        told = told or _rank(spec, shaped, receipt, found, given)
        if told:
            return told
    digest = receipts.digest((start, key, n, fp, measures) for (start, key), (n, fp, measures) in found.items())
    mine = (len(found), sum(state[0] for state in found.values()), digest)
    if mine == (receipt.rows, receipt.n, receipt.digest):
        return None
    names = ("rows", "events", "sha256 of the states")
    differing = [
        f"{name}: recount {a}, receipt {b}"
        for name, a, b in zip(names, mine, (receipt.rows, receipt.n, receipt.digest), strict=True)
        if a != b
    ]
    return "; ".join([*differing, _engine_s(world, path, spec, receipt)])


def _engine_s(world: World, path: SecondPath, spec: ViewSpec, receipt: Receipt) -> str:
    """Return the first row in which what the stores hold differs from the recount: a digest alone names none."""
    try:
        held = plain(merged(world, spec, receipt.generation, receipt.seq))
    except BraidError as error:
        return f"what was answered can no longer be read row by row ({error})"
    told = smallest(spec, path.states(spec, 0, receipt.seq), held, "the stores")
    return told or "what the stores hold for it equals the recount, so the receipt is not what Braid answered"


def merged(world: World, spec: ViewSpec, gen: int, seq: int) -> views.View:
    """Return a view as the engine merges it from its files and fragments, as of a generation and a seq."""
    current = world.files.published(gen)
    batch = world.files.view(current, spec)
    fine = world.declaration.finest(spec)
    rows = world.stores.ledger.rows(current.cut_seq, seq)
    lost = gaps.lost(rows)
    fragments = world.stores.fragments.read(fine, [r for r in rows if r.kind == "micro" and r.seq not in lost])
    if fine.name != spec.name:
        tail = views.coarsen(views.answer({}, fragments, current.cut_seq, seq), fine, spec)
        return views.merge_views([batch, tail])
    return views.answer(batch, fragments, current.cut_seq, seq)


# ---- the rows of an answer -----------------------------------------------------------------------------------------


def _shaped(spec: ViewSpec, receipt: Receipt) -> ViewSpec:
    asked = receipt.question
    return replace(
        spec, by=spec.by if asked.by is None else asked.by,
        window_us=spec.window_us if asked.window_us is None else asked.window_us,
    )  # fmt: skip


def _place(spec: ViewSpec, row: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    return (_start(row["window_start"]) if spec.window_us else 0, tuple(row[column] for column in spec.by))


def _start(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _state(spec: ViewSpec, row: Mapping[str, Any]) -> State:
    exact = row["state"]
    held = [(m, exact["measures"][m.id]) for m in spec.measures]
    return exact["n"], int(exact["fp"]), tuple(_plain(m, found) for m, found in held)


def _plain(measure: Measure, found: Mapping[str, Any]) -> Plain:
    if measure.kind != "moments":
        return tuple(found[name] for name in FIELDS[measure.kind])
    return found["n"], int(found["sum"]), int(found["sumsq"]), found["min"], found["max"]


def _finished(spec: ViewSpec, place: tuple[int, tuple[str, ...]], state: State, row: Mapping[str, Any]) -> str | None:
    """Return the first finished number of a row that is not what its state gives."""
    pairs: list[tuple[str, Any]] = [("n", state[0])]
    at = {m.id: state[2][i] for i, m in enumerate(spec.measures)}
    pairs += [(name, kinds.finished(at[m.id], stat, m.scale)) for name, m, stat in spec.finished]
    given = dict(pairs)
    pairs += [(rule.name, _word(rule, given[rule.of])) for rule in spec.rules]
    for name, mine in pairs:
        if name in row and row[name] != mine:
            return f"{spec.name} [{where(spec, place)}] {name}: recount {mine}, the answer {row[name]}"
    return None


def _rank(
    spec: ViewSpec, shaped: ViewSpec, receipt: Receipt, found: States, given: Mapping[Place, Mapping[str, Any]]
) -> str | None:
    """Return the first row whose rank is not its place in its list; of a later page the list's beginning is not known."""
    if spec.top is None or receipt.question.offset:
        return None
    ranks: Counter[tuple[Any, ...]] = Counter()
    for place in found:  # in the order of the answer
        group = (place[0], *(place[1][shaped.by.index(column)] for column in spec.top.per if column in shaped.by))
        ranks[group] += 1
        if given[place].get("rank", ranks[group]) != ranks[group]:
            return f"{spec.name} [{where(spec, place)}] rank: recount {ranks[group]}, the answer {given[place]['rank']}"
    return None


def _word(rule: Rule, number: Any) -> str | None:
    """Return the word for a number by its bounds, the lowest first."""
    if number is None:
        return None
    for word, bound in sorted(rule.levels, key=lambda level: level[1]):
        if Fraction(number) < Fraction(bound):
            return word
    return rule.otherwise


def shown(receipt: Receipt) -> str:
    """Return a receipt in words."""
    asked = receipt.question
    words = [f"{column} in {', '.join(values)}" for column, values in asked.keys]
    words += [f"from {iso(asked.from_us)}"] if asked.from_us is not None else []
    words += [f"to {iso(asked.to_us)}"] if asked.to_us is not None else []
    words += ["newest windows"] if asked.newest_window else []
    question = "; ".join(words) or "every row"
    return (
        f"{receipt.dataset} {receipt.view} ({asked.layer}; {question}): generation {receipt.generation}, "
        f"seq {receipt.seq}, {receipt.rows:,} rows, {receipt.n:,} events"
    )
