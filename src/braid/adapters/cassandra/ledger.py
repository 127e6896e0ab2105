"""The ledger and `current` in Cassandra: each step a compare-and-set, whose outcome is always found out.

A compare-and-set that times out may have happened, or may happen yet. So the row is read back at LOCAL_SERIAL, which
finishes what is in flight: our own writer and attempt there means done, another's means the race is lost, nothing there
means that it may be sent again, for what is sent is the same row. When even that cannot be found out the process must
end: the next start reads head and knows.

What decides is read linearisably: LOCAL_SERIAL, which costs a round of Paxos and a wait for the commit log each time. Who only follows
reads at LOCAL_QUORUM: rows that are there are decided, and none that was acknowledged is missed.

Head is found by walking from the partition of rows where it was last seen (at first, that of the served cut) until one
is not full; rows are never taken away, so head is never behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from braid import cql
from braid.adapters import failpoints
from braid.adapters.cassandra.session import NoAnswer, Row, Session
from braid.declaration import Declaration
from braid.errors import LedgerError, LostRace, StoreUnavailable
from braid.ledger import ROWS_PER_LEDGER_BUCKET, Current, LedgerRow, Range, offsets_of, text_of

_MAPS = ("topic_ids", "view_n", "view_fp", "totals")
_TEXTS = ("writer", "definition", "text")


class CassandraLedger:
    """The port `Ledger` of one dataset.

    Parameters
    ----------
    following : whether head and `current` are read by somebody who decides nothing by them
    """

    def __init__(self, session: Session, declaration: Declaration, *, following: bool = False) -> None:
        self._session = session
        self._read = session.run if following else session.run_serial
        self._dataset = declaration.dataset
        rows, current = cql.ledger(declaration), cql.current(declaration)
        self._names = rows.names
        self._insert = rows.insert(only_new=True)
        bucket = "WHERE dataset = ? AND ledger_bucket = ?"
        self._select_newest = rows.select(f"{bucket} LIMIT 1")
        self._select_one = rows.select(f"{bucket} AND seq = ?")
        self._select_rows = rows.select(f"{bucket} AND seq > ? AND seq <= ? ORDER BY seq ASC")
        self._insert_current = current.insert(only_new=True)
        self._select_current = current.select("WHERE dataset = ?")
        changed = ", ".join(f"{name} = ?" for name in current.names[1:])
        self._update_current = f"UPDATE {current.path} SET {changed} WHERE dataset = ? IF gen = ?"  # noqa: S608 - our own names
        self._bucket: int | None = None

    def create(self, row: LedgerRow, current: Current) -> None:
        """Write genesis and `current`, each only if there is none yet."""
        self._settle(self._insert, self._arguments(row), lambda: self._found(row.seq) is not None, "genesis")
        first = (self._dataset, *_current_arguments(current))
        self._settle(self._insert_current, first, lambda: self._found_current() is not None, "current")

    def head(self) -> LedgerRow:
        """Return the newest row; LedgerError when there is no genesis."""
        bucket = self._bucket if self._bucket is not None else _bucket_of(self.current().cut_seq)
        newest: LedgerRow | None = None
        while found := self._read(self._select_newest, (self._dataset, bucket)):
            newest, self._bucket = self._row(found[0]), bucket
            if _bucket_of(newest.seq + 1) == bucket:
                return newest
            bucket += 1
        if newest is None:
            self._bucket = None  # the dataset may have been created anew: ask `current` the next time
            raise LedgerError(
                f"{self._dataset}: ledger: expected a genesis row, got none; create the dataset: braid up"
            )
        return newest

    def rows(self, after: int, through: int) -> list[LedgerRow]:
        """Return the rows with after < seq <= through, in order; LedgerError when one is missing."""
        found: list[LedgerRow] = []
        if through > after:
            for bucket in range(_bucket_of(after + 1), _bucket_of(through) + 1):
                rows = self._session.run(self._select_rows, (self._dataset, bucket, after, through))
                found += map(self._row, rows)
        seqs = [row.seq for row in found]
        if seqs != list(range(after + 1, through + 1)):
            missing = sorted(set(range(after + 1, through + 1)) - set(seqs))
            raise LedgerError(
                f"{self._dataset}: ledger: expected seq {after + 1} to {through}, got none at seq {missing[0]}; "
                "the ledger is older than its reader: restart it"
            )
        return found

    def append(self, row: LedgerRow) -> None:
        """Add a row at its seq if nobody has; LostRace when another writer or attempt holds it."""

        def ours() -> bool:
            held = self._found(row.seq)
            if held is not None and (held.writer, held.attempt) != (row.writer, row.attempt):
                raise LostRace(
                    f"{self._dataset}: ledger seq {row.seq}: expected it to be free, "
                    f"got a row of writer {held.writer}; another driver is at work: this one must exit"
                )
            return held is not None

        self._settle(self._insert, self._arguments(row), ours, f"ledger seq {row.seq}", "speed.ledger")

    def current(self) -> Current:
        """Return the served generation; LedgerError before genesis."""
        found = self._found_current()
        if found is None:
            raise LedgerError(
                f"{self._dataset}: current: expected a generation, got none; create the dataset: braid up"
            )
        return found

    def publish(self, current: Current, expected_gen: int) -> None:
        """Serve another generation if `expected_gen` still is; LostRace when not."""

        def served() -> bool:
            held = self.current()
            if held.gen != expected_gen and held != current:
                raise LostRace(
                    f"{self._dataset}: current: expected generation {expected_gen} to be served, got {held.gen}; "
                    "another batch run published first: run the batch again"
                )
            return held == current

        arguments = (*_current_arguments(current), self._dataset, expected_gen)
        self._settle(self._update_current, arguments, served, f"generation {current.gen}", "batch.cas")

    def _settle(
        self, statement: str, arguments: tuple[Any, ...], settled: Callable[[], bool], what: str, place: str = ""
    ) -> None:
        """Run a compare-and-set until it is known to be done; `settled` raises when it never will be."""
        unknown: StoreUnavailable | None = None
        for _ in self._session.tries():
            try:
                applied = self._session.compare_and_set(statement, arguments)
                failpoints.hit(place, lost=NoAnswer)
                if applied:
                    return
            except NoAnswer as error:
                unknown = error
            try:
                if settled():
                    return
            except NoAnswer as error:
                unknown = error
        raise StoreUnavailable(
            f"{self._dataset}: {what}: expected to learn whether it was written, got no answer; "
            f"end this process: the next start reads what became of it ({unknown})"
        ) from unknown

    def _found(self, seq: int) -> LedgerRow | None:
        rows = self._session.run_serial(self._select_one, (self._dataset, _bucket_of(seq), seq))
        return self._row(rows[0]) if rows else None

    def _found_current(self) -> Current | None:
        rows = self._read(self._select_current, (self._dataset,))
        if not rows:
            return None
        _, gen, cut_seq, cut, definition, audit, published_at_us = rows[0]
        return Current(gen, cut_seq, offsets_of(cut or {}), definition or "", audit or "", published_at_us)

    def _arguments(self, row: LedgerRow) -> tuple[Any, ...]:
        """Return a row as the table's columns; what is empty is not written."""
        special: dict[str, Any] = {
            "dataset": self._dataset,
            "ledger_bucket": _bucket_of(row.seq),
            "range_start": text_of(row.range.start) or None,
            "range_end": text_of(row.range.end) or None,
        }
        special |= {name: dict(getattr(row, name)) or None for name in _MAPS}
        special |= {name: getattr(row, name) or None for name in _TEXTS}
        return tuple(special[name] if name in special else getattr(row, name) for name in self._names)

    def _row(self, columns: Row) -> LedgerRow:
        values = dict(zip(self._names, columns, strict=True))
        del values["dataset"], values["ledger_bucket"]
        offsets = Range(offsets_of(values.pop("range_start") or {}), offsets_of(values.pop("range_end") or {}))
        texts = {name: values[name] or "" for name in _TEXTS}
        maps = {name: dict(values[name] or {}) for name in _MAPS}
        return LedgerRow(range=offsets, **values | texts | maps)


def _bucket_of(seq: int) -> int:
    return seq // ROWS_PER_LEDGER_BUCKET


def _current_arguments(current: Current) -> tuple[Any, ...]:
    cut = text_of(current.cut) or None
    return (current.gen, current.cut_seq, cut, current.definition, current.audit, current.published_at_us)
