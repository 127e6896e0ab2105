"""One driver session, and what every statement of Braid has in common.

Reads and writes ask LOCAL_QUORUM. What must be linearisable (the ledger's head, `current`) is read LOCAL_SERIAL, which
also finishes a compare-and-set that its writer left half done. Statements are prepared once, a None is left unset (a
null is a tombstone), and whatever the driver raises becomes StoreUnavailable in one place.

Plain writes are idempotent, so they are tried again for half a minute: long enough for a killed Cassandra to be back,
short enough for a supervisor not to think its caller dead. A compare-and-set is sent once, and its caller reads back
what became of it. Reads are not tried again: who reads can ask again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from cassandra import ConsistencyLevel, DriverException, InvalidRequest, Unauthorized
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import SyntaxException
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, BoundStatement, PreparedStatement, tuple_factory

from braid.errors import StoreUnavailable

_SERIAL = "serial"
_TIMEOUT_S = 10.0
_TRUNCATE_TIMEOUT_S = 65.0  # the server's own limit is a minute
_CONCURRENCY = 32  # batches in flight; 8 and 128 measured no better
_BATCH_BYTES = 5 * 1024
_PATIENCE_S = 30.0
_LONGEST_PAUSE_S = 4.0
_FAILURES = (DriverException, NoHostAvailable, ConnectionException, SyntaxException)
_REFUSALS = (InvalidRequest, Unauthorized, SyntaxException)

Row = tuple[Any, ...]
T = TypeVar("T")


class NoAnswer(StoreUnavailable):
    """Cassandra did not say whether it did what was asked; it may have, or may yet."""


class Session:
    """Statements on one cluster. Safe to share between threads.

    Parameters
    ----------
    where : str, host and port, for errors
    cluster, session : the driver's
    pause, now_s : callables, wait for some seconds between tries and tell the time in seconds
    """

    def __init__(
        self,
        where: str,
        cluster: Any,
        session: Any,
        pause: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where = where
        self._pause = pause
        self._now_s = now_s
        self._cluster = cluster
        self._session = session
        self._prepared: dict[str, PreparedStatement] = {}

    def run(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a SELECT, page by page, at LOCAL_QUORUM."""
        return self._ask(statement, lambda: list(self._execute(statement, arguments, EXEC_PROFILE_DEFAULT)))

    def table(self, statement: str) -> tuple[list[str], list[Row]]:
        """Run any one statement as it stands and return (column names, rows); for people, `braid shell cassandra`."""

        def answer() -> tuple[list[str], list[Row]]:
            result = self._session.execute(statement, timeout=_TRUNCATE_TIMEOUT_S)
            return list(result.column_names or ()), list(result)

        return self._ask(statement, answer)

    def run_serial(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a SELECT within one partition, linearisably."""
        return self._ask(statement, lambda: list(self._execute(statement, arguments, _SERIAL)))

    def compare_and_set(self, statement: str, arguments: Sequence[Any]) -> bool:
        """Run INSERT or UPDATE … IF … once and say whether it was applied; NoAnswer when that is not known."""
        return self._ask(statement, lambda: bool(self._execute(statement, arguments, EXEC_PROFILE_DEFAULT).was_applied))

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run an idempotent INSERT for every row, many at a time; all are written or it raises.

        Rows of one partition travel together, as a batch that is one mutation for the server (never several, which
        would need its batch log). Measured: 300 fragments take 18 ms so and 105 ms one by one, 2,000 take 62 and 800.
        """
        values = [_unset(row) for row in rows]
        failed: NoAnswer | None = None
        for _ in self.tries():
            try:
                return self._ask(statement, lambda: self._send(statement, values))
            except NoAnswer as error:
                failed = error
        raise failed or NoAnswer(f"cassandra {self.where}: {_short(statement)}: never tried")

    def tries(self) -> Iterator[None]:
        """Yield once, then again after longer and longer pauses, until the patience for an answer is at its end."""
        until_s, pause_s = self._now_s() + _PATIENCE_S, 0.1
        yield
        while self._now_s() + pause_s < until_s:
            self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            yield

    def define(self, statement: str) -> None:
        """Run a statement that changes the schema or truncates a table."""
        self._ask(statement, lambda: self._session.execute(statement, timeout=_TRUNCATE_TIMEOUT_S))

    def close(self) -> None:
        """Close every connection and stop the driver's threads."""
        self._cluster.shutdown()

    def _execute(self, statement: str, arguments: Sequence[Any], profile: str) -> Any:
        return self._session.execute(self._prepare(statement), _unset(arguments), execution_profile=profile)

    def _send(self, statement: str, values: list[list[Any]]) -> None:
        if values:
            prepared = self._prepare(statement)
            batches = _batches([prepared.bind(row) for row in values])
            execute_concurrent(self._session, [(batch, ()) for batch in batches], concurrency=_CONCURRENCY)

    def _prepare(self, statement: str) -> PreparedStatement:
        found = self._prepared.get(statement)
        if found is None:
            found = self._session.prepare(statement)
            found.is_idempotent = " IF " not in statement
            self._prepared[statement] = found
        return found

    def _ask(self, statement: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except _FAILURES as error:
            kind, advice = StoreUnavailable, "apply the schema: braid up"
            if not isinstance(error, _REFUSALS):
                kind, advice = NoAnswer, "see `braid status` and `braid logs cassandra`"
            raise kind(f"cassandra {self.where}: {_short(statement)}: {_cause(error)}; {advice}") from error


def opened(host: str, port: int) -> Session:
    """Connect to the cluster that holds `host`.

    Raises
    ------
    StoreUnavailable
        Nothing answers there.
    """
    where = f"{host}:{port}"
    cluster = Cluster(
        [host], port=port, protocol_version=5, execution_profiles=_profiles(),
        reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None), connect_timeout=_TIMEOUT_S,
    )  # fmt: skip
    try:
        return Session(where, cluster, cluster.connect())
    except _FAILURES as error:
        cluster.shutdown()
        raise NoAnswer(f"cassandra {where}: expected a connection, got {_cause(error)}; start it: braid up") from error


def _profiles() -> dict[str, ExecutionProfile]:
    common = {
        "load_balancing_policy": TokenAwarePolicy(DCAwareRoundRobinPolicy()),
        "serial_consistency_level": ConsistencyLevel.LOCAL_SERIAL,
        "request_timeout": _TIMEOUT_S,
        "row_factory": tuple_factory,
    }
    return {
        EXEC_PROFILE_DEFAULT: ExecutionProfile(consistency_level=ConsistencyLevel.LOCAL_QUORUM, **common),
        _SERIAL: ExecutionProfile(consistency_level=ConsistencyLevel.LOCAL_SERIAL, **common),
    }


def _batches(statements: Iterable[BoundStatement]) -> list[BatchStatement]:
    """Return statements as batches of one partition each, none of more than `_BATCH_BYTES` of values."""
    made: list[BatchStatement] = []
    open_: dict[bytes, tuple[BatchStatement, int]] = {}
    for statement in statements:
        size = sum(len(value) for value in statement.values if isinstance(value, bytes))
        batch, held = open_.get(statement.routing_key, (None, 0))
        if batch is None or held + size > _BATCH_BYTES:
            batch, held = BatchStatement(BatchType.UNLOGGED), 0
            batch.is_idempotent = True
            made.append(batch)
        batch.add(statement)
        open_[statement.routing_key] = (batch, held + size)
    return made


def _unset(row: Sequence[Any]) -> list[Any]:
    return [UNSET_VALUE if value is None else value for value in row]


def _short(statement: str) -> str:
    """Return what a statement does to which table, without its columns."""
    plain = re.sub(r"^SELECT .*? FROM ", "SELECT … FROM ", " ".join(statement.split()))
    return re.sub(r" \(.*", " …", plain)


def _cause(error: BaseException) -> str:
    """Return a driver's error on one line; of all hosts failing, what one of them said."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        error = next(iter(error.errors.values()), Exception("no host is up"))
    return " ".join(str(error).split())
