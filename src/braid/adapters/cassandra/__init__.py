"""Cassandra: the ledger, fragments, alerts, dead letters and projections of a dataset behind one connection.

Open it after a fork, never before: the driver's threads do not survive one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from braid import cql
from braid.adapters.cassandra.ledger import CassandraLedger
from braid.adapters.cassandra.session import Session, opened
from braid.adapters.cassandra.states import (
    CassandraAcknowledgements,
    CassandraAlerts,
    CassandraDeadLetters,
    CassandraFragments,
    CassandraProjections,
)
from braid.declaration import Declaration
from braid.errors import DeclarationError
from braid.settings import Settings

_Shape: TypeAlias = frozenset[tuple[str, str, str, int]]  # name, type, part in the key, place in it


def _shape(table: cql.Table) -> _Shape:
    """Return a table as `system_schema.columns` describes it."""
    key = {name: ("partition_key", i) for i, name in enumerate(table.partition)}
    key |= {name: ("clustering", i) for i, name in enumerate(table.clustering)}
    return frozenset((name, kind, *key.get(name, ("regular", -1))) for name, kind in table.columns)


def _key(shape: _Shape) -> tuple[str, ...]:
    """Return the columns of a key, those of the partition first."""
    held = [(kind == "clustering", at, name) for name, _, kind, at in shape if kind in {"partition_key", "clustering"}]
    return tuple(name for _, _, name in sorted(held))


@dataclass(frozen=True, slots=True)
class Stores:
    """The ports of one dataset that Cassandra keeps."""

    ledger: CassandraLedger
    fragments: CassandraFragments
    alerts: CassandraAlerts
    dead_letters: CassandraDeadLetters
    projections: CassandraProjections
    acknowledgements: CassandraAcknowledgements


class Cassandra:
    """One connection, shared by all datasets and threads of a process; close it, or use it in a `with`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def apply_schema(self, declaration: Declaration, replicas: int = 1) -> None:
        """Create the dataset's keyspace and tables where they are missing.

        Parameters
        ----------
        replicas : int, copies of each row in a data centre, of a keyspace that does not exist yet

        Raises
        ------
        StoreUnavailable
            Cassandra did not answer.
        DeclarationError
            A table of that name has other columns, or another key: it was made by another declaration.
        """
        for statement in cql.statements(declaration, replicas):
            self._session.define(statement)
        found = self._session.run(
            "SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = ?",
            (declaration.dataset,),
        )
        held = {(table, column): kind for table, column, kind in found}
        keys = {name: _key(shape) for name, shape in self._derived(declaration.dataset).items()}
        for table in cql.tables(declaration):
            wrong = f"cassandra {self._session.where}: {table.path}: expected"
            why = f"the table was made by another declaration: run braid apply {declaration.dataset}"
            for column, kind in table.columns:
                got = held.get((table.name, column))
                if got != kind:
                    raise DeclarationError(f"{wrong} column {column} {kind}, got {got or 'none'}; {why}")
            key = _key(_shape(table))
            if keys[table.name] != key:
                raise DeclarationError(f"{wrong} the key {', '.join(key)}, got {', '.join(keys[table.name])}; {why}")

    def change(self, earlier: Sequence[Declaration], new: Declaration) -> list[str]:
        """Give the derived tables the shape of a changed declaration; return the names of those made or dropped.

        A table of another shape is dropped and made anew: neither its key nor a column's type can be altered. Only tables
        that a declaration of this dataset has had are touched.

        Raises
        ------
        StoreUnavailable
            Cassandra did not answer; run it again.
        """
        held = self._derived(new.dataset)
        wanted = {table.name: table for table in cql.derived(new)}
        known = {table.name for one in (*earlier, new) for table in cql.derived(one)}
        stale = sorted(name for name in held.keys() & known if name not in wanted or held[name] != _shape(wanted[name]))
        for name in stale:
            self._session.define(f"DROP TABLE IF EXISTS {cql.quoted(new.dataset)}.{cql.quoted(name)}")
        made = sorted(name for name in wanted if name not in held)
        self.apply_schema(new)
        return sorted({*stale, *made})

    def _derived(self, keyspace: str) -> dict[str, _Shape]:
        """Return the columns of every table of a keyspace, with their part in its key."""
        found = self._session.run(
            "SELECT table_name, column_name, type, kind, position FROM system_schema.columns WHERE keyspace_name = ?",
            (keyspace,),
        )
        shapes: dict[str, set[tuple[str, str, str, int]]] = {}
        for table, *column in found:
            shapes.setdefault(table, set()).add((column[0], column[1], column[2], column[3]))
        return {table: frozenset(columns) for table, columns in shapes.items()}

    def knows(self, dataset: str) -> bool:
        """Return whether the dataset's ledger table exists."""
        found = self._session.run(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'ledger'", (dataset,)
        )
        return bool(list(found))

    def stores(self, declaration: Declaration, *, following: bool = False) -> Stores:
        """Return the ports of one dataset; nothing is asked of Cassandra before they are used.

        Parameters
        ----------
        following : whether they are for somebody who reads the ledger again and again and decides nothing by it
        """
        return Stores(
            CassandraLedger(self._session, declaration, following=following),
            CassandraFragments(self._session, declaration),
            CassandraAlerts(self._session, declaration),
            CassandraDeadLetters(self._session, declaration),
            CassandraProjections(self._session, declaration),
            CassandraAcknowledgements(self._session, declaration),
        )

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._session.close()

    def __enter__(self) -> Cassandra:
        """Return the connection itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connection."""
        self.close()


def connect(settings: Settings) -> Cassandra:
    """Open a connection.

    Raises
    ------
    StoreUnavailable
        Nothing answers at the settings' address.
    """
    return Cassandra(opened(settings.cassandra_host, settings.cassandra_port))
