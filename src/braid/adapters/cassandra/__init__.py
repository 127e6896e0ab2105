"""Cassandra: the ledger, fragments, alerts, dead letters and projections of a dataset behind one connection.

Open it after a fork, never before: the driver's threads do not survive one.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

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
            A table of that name has other columns: it was made by another declaration.
        """
        for statement in cql.statements(declaration, replicas):
            self._session.define(statement)
        found = self._session.run(
            "SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = ?",
            (declaration.dataset,),
        )
        held = {(table, column): kind for table, column, kind in found}
        for table in cql.tables(declaration):
            for column, kind in table.columns:
                got = held.get((table.name, column))
                if got != kind:
                    raise DeclarationError(
                        f"cassandra {self._session.where}: {table.path}: expected column {column} {kind}, "
                        f"got {got or 'none'}; the table was made by another declaration: run braid apply"
                    )

    def knows(self, dataset: str) -> bool:
        """Return whether the dataset's ledger table exists."""
        found = self._session.run(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'ledger'", (dataset,)
        )
        return bool(list(found))

    def stores(self, declaration: Declaration) -> Stores:
        """Return the ports of one dataset; nothing is asked of Cassandra before they are used."""
        return Stores(
            CassandraLedger(self._session, declaration),
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
