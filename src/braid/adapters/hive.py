"""Hive through PyHive and HiveServer2, the one door to its catalogue: what is registered, and rows read back.

Connections are made when they are needed and thrown away after any error, so that a HiveServer2 that was restarted is
met again by the next call. One object may be used by one thread at a time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from types import TracebackType
from typing import Any

import thrift_sasl
from pyhive import hive
from pyhive.exc import Error
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket

from braid import generations, hiveql
from braid.declaration import Declaration, ViewSpec
from braid.errors import StoreUnavailable
from braid.ledger import Current
from braid.settings import Settings
from braid.views import View

USER = "braid"
TIMEOUT_S = 60.0  # of one answer: a statement on a cold server takes seconds
_ROWS_AT_ONCE = 10_000
_MECHANISM = "PLAIN"  # HiveServer2 without authentication still speaks SASL
_FAILURES = (Error, TException, OSError, AssertionError)  # PyHive asserts what the protocol must hold


class Hive:
    """Statements and queries over one connection to HiveServer2.

    Parameters
    ----------
    host, port : where HiveServer2 listens
    timeout_s : how long one answer may take
    """

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._connection: Any = None

    def rows(self, text: str, what: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows, none for one that has none.

        Parameters
        ----------
        what : names the statement in the error

        Raises
        ------
        StoreUnavailable
            HiveServer2 does not answer, or refuses the statement: the text holds its own words.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            with closing(self._connection.cursor(arraysize=_ROWS_AT_ONCE)) as cursor:
                cursor.execute(text)
                return list(cursor.fetchall()) if cursor.description else []
        except _FAILURES as error:
            self.close()
            where = f"Hive at {self._host}:{self._port}"
            raise StoreUnavailable(f"{where}: {what}: {_words(error)}; is it up? `braid status`") from error

    def ping(self) -> None:
        """Ask for a sign of life; StoreUnavailable when there is none."""
        self.rows("SELECT 1", "a sign of life")

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # a session that timed out half-way fails in ways of its own, and what is thrown away has nothing to say
            with suppress(Exception):
                connection.close()

    def __enter__(self) -> Hive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _connect(self) -> Any:
        socket = TSocket(self._host, self._port)
        socket.setTimeout(self._timeout_s * 1000)
        transport = thrift_sasl.TSaslClientTransport(self._sasl, _MECHANISM, socket)
        return hive.connect(thrift_transport=transport, username=USER)

    def _sasl(self) -> Any:
        return hive.get_installed_sasl(
            host=self._host, sasl_auth=_MECHANISM, service=None, username=USER, password="any"  # noqa: S106 - none is asked
        )  # fmt: skip


def connect(settings: Settings, timeout_s: float = TIMEOUT_S) -> Hive:
    """Return Hive at the settings' address; nothing is opened yet."""
    return Hive(settings.hive_host, settings.hive_port, timeout_s)


class HiveCatalogue:
    """The port `Catalogue`: a dataset's database in Hive."""

    def __init__(self, connection: Hive, declaration: Declaration) -> None:
        self._hive = connection
        self._dataset = declaration.dataset
        self._made: dict[str, list[tuple[str, str]]] = {}  # the columns of the tables that are known to be there

    def register(self, gen: int, view: ViewSpec, location: str, parts: Mapping[str, str]) -> None:
        """Make a view's table if there is none, and its partitions of a generation; what is there stays."""
        self._make(view, location)
        if parts:
            self._do(
                hiveql.add_partitions(self._dataset, view, gen, parts), f"registering generation {gen} of {view.name}"
            )

    def serve(self, gen: int, cut_seq: int, view: ViewSpec) -> None:
        """Let the plain name of a view select one generation."""
        self._do(hiveql.served_view(self._dataset, view, gen, cut_seq), f"serving generation {gen} of {view.name}")

    def served(self, view: ViewSpec) -> int | None:
        """Return the generation that the plain name of a view selects, None when there is no such name."""
        if view.name not in self._names():
            return None
        found = self._do(hiveql.served_generation(self._dataset, view), f"asking which generation {view.name} selects")
        number = str(found[0][1]) if found else ""
        return int(number) if number.isdecimal() else None

    def numbers(self, view: ViewSpec) -> set[int]:
        """Return the generations that a view has partitions of."""
        if hiveql.generations_table(view) not in self._names():
            return set()
        found = self._do(hiveql.show_partitions(self._dataset, view), f"listing generations of {view.name}")
        return {int(re.match(r"gen=(\d+)/", str(row[0]))[1]) for row in found}  # type: ignore[index]

    def forget(self, view: ViewSpec, gens: Collection[int]) -> None:
        """Drop the partitions of some generations; their files stay."""
        if gens:
            self._do(
                hiveql.drop_partitions(self._dataset, view, gens), f"dropping generations {sorted(gens)} of {view.name}"
            )

    def reshape(self, view: ViewSpec) -> None:
        """Drop a view's table when it has other columns than the view has now: the files of its generations stay."""
        if hiveql.generations_table(view) in self._names() and self._columns(view) != _expected(view):
            self._made.pop(view.name, None)
            self._do(hiveql.drop_table(self._dataset, view), f"dropping the table of {view.name}, of other columns")

    def drop(self, view: ViewSpec) -> None:
        """Drop what is registered of a view that is no longer declared; files stay."""
        names = self._names()
        self._made.pop(view.name, None)
        if view.name in names:
            self._do(hiveql.drop_view(self._dataset, view), f"dropping the name {view.name}")
        if hiveql.generations_table(view) in names:
            self._do(hiveql.drop_table(self._dataset, view), f"dropping the table of {view.name}")

    def _make(self, view: ViewSpec, location: str) -> None:
        if self._made.get(view.name) == _expected(view):
            return
        self._do(hiveql.database(self._dataset), f"making the database {self._dataset}")
        self._do(hiveql.table(self._dataset, view, location), f"making the table of {view.name}")
        self._check_columns(view)
        self._made[view.name] = _expected(view)

    def _check_columns(self, view: ViewSpec) -> None:
        got, expected = self._columns(view), _expected(view)
        if got != expected:
            raise StoreUnavailable(
                f"Hive: table {hiveql.of(self._dataset, view)}: expected the columns {expected}, got {got}; it was made for "
                "another declaration: drop the table (its files stay) and run the batch again"
            )

    def _columns(self, view: ViewSpec) -> list[tuple[str, str]]:
        """Return the columns of a view's table, those of its partitions left out."""
        described = self._do(hiveql.describe(self._dataset, view), f"describing {view.name}")
        names = [(str(row[0]), str(row[1])) for row in described]
        return names[: next((i for i, (name, _) in enumerate(names) if name == hiveql.PARTITIONED_BY[0]), len(names))]

    def _names(self) -> set[str]:
        if (self._dataset,) not in {(str(row[0]),) for row in self._do("SHOW DATABASES", "listing databases")}:
            return set()
        return {str(row[1]) for row in self._do(f"SHOW TABLES IN {hiveql.name(self._dataset)}", "listing tables")}

    def _do(self, text: str, what: str) -> list[tuple[Any, ...]]:
        return self._hive.rows(text, what)


def _expected(view: ViewSpec) -> list[tuple[str, str]]:
    return [(c.name, c.type) for c in hiveql.columns(view)]


class HiveGenerations:
    """The port `Generations` over HiveServer2, as the serving layer reads it."""

    def __init__(self, connection: Hive, declaration: Declaration) -> None:
        self._hive = connection
        self._dataset = declaration.dataset

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of a generation (of generation 0: the empty view), checked against `current.audit`.

        Raises
        ------
        AuditFailed
            The rows are not those that were published.
        StoreUnavailable
            HiveServer2 did not answer.
        """
        if current.gen == 0:
            return {}
        text = hiveql.states(self._dataset, view, current.gen)
        rows = self._hive.rows(text, f"reading generation {current.gen} of {view.name}")
        found = dict(hiveql.place_of(view, row) for row in rows)
        generations.check(current, view, found, f"Hive table {hiveql.of(self._dataset, view)}")
        return found


def _words(error: BaseException) -> str:
    """Return what went wrong in one line: PyHive shows the whole answer of the server, Java's traces included."""
    status = getattr(error.args[0] if error.args else None, "status", None)
    message = getattr(status, "errorMessage", None) or str(error) or type(error).__name__
    return " ".join(str(message).split("\n\tat ")[0].split())[:500]
