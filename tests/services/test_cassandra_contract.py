"""Cassandra keeps the contracts of the ports, and finds out what became of every compare-and-set."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cassandra.cluster import NoHostAvailable
from cassandra.metadata import cql_keywords

from braid import cql
from braid.adapters import cassandra, failpoints
from braid.adapters.cassandra.ledger import CassandraLedger
from braid.adapters.cassandra.session import NoAnswer, Session, opened
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import DeclarationError, LostRace, StoreUnavailable
from braid.ledger import Current
from braid.settings import Ports, Settings
from tests import contracts
from tests.contracts import BY_MINUTE, ODD, TOPIC, begin, fragment, genesis, letter, row

# a keyspace of its own, so that two runs may share one Cassandra
DECLARATION = replace(contracts.DECLARATION, dataset=f"contract_{uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def session(stack: Settings) -> Iterator[Session]:
    session = opened(stack.cassandra_host, stack.cassandra_port)
    cassandra.Cassandra(session).apply_schema(DECLARATION)
    yield session
    session.define(f"DROP KEYSPACE {DECLARATION.dataset}")
    session.close()


@pytest.fixture
def stores(session: Session) -> cassandra.Stores:
    """Return the ports of the dataset, every table empty."""
    for table in cql.tables(DECLARATION):
        if session.run(f"SELECT * FROM {table.path} LIMIT 1"):
            session.define(f"TRUNCATE {table.path}")
    return cassandra.Cassandra(session).stores(DECLARATION)


@pytest.fixture
def ledger(stores: cassandra.Stores) -> CassandraLedger:
    return stores.ledger


class TestCassandraLedger(contracts.LedgerContract):
    pass


class TestFollowingLedger(contracts.LedgerContract):
    @pytest.fixture
    def ledger(self, stores: cassandra.Stores, session: Session) -> CassandraLedger:
        return cassandra.Cassandra(session).stores(DECLARATION, following=True).ledger

    def test_it_asks_for_no_round_of_paxos(self, ledger: CassandraLedger, session: Session) -> None:
        begin(ledger)
        deaf = Faulty(session, [])
        deaf.deaf = True  # to linearisable reads
        following = CassandraLedger(deaf, DECLARATION, following=True)
        assert (following.head(), following.current()) == (ledger.head(), ledger.current())
        with pytest.raises(NoAnswer):
            CassandraLedger(deaf, DECLARATION).current()


class TestCassandraFragments(contracts.FragmentsContract):
    @pytest.fixture
    def fragments(self, stores: cassandra.Stores) -> cassandra.CassandraFragments:
        return stores.fragments


class TestCassandraTables(contracts.TablesContract):
    @pytest.fixture
    def declared(self) -> Declaration:
        return replace(contracts.DECLARATION, dataset=f"tables_{uuid4().hex[:8]}")

    @pytest.fixture
    def tables(self, session: Session, declared: Declaration) -> Iterator[cassandra.Cassandra]:
        store = cassandra.Cassandra(session)
        store.apply_schema(declared)
        yield store
        session.define(f"DROP KEYSPACE {declared.dataset}")

    @pytest.fixture
    def there(self, session: Session, declared: Declaration) -> contracts.Columns:
        known = {table.name for table in cql.tables(declared)} - {table.name for table in cql.derived(declared)}

        def columns() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            text = "SELECT table_name, column_name FROM system_schema.columns WHERE keyspace_name = ?"
            for table, column in session.run(text, (declared.dataset,)):
                found.setdefault(table, set()).add(column)
            return {table: names for table, names in found.items() if table not in known}

        return columns

    def test_a_table_with_another_key_is_refused_before_the_stream_writes_to_it(
        self, tables: cassandra.Cassandra, declared: Declaration
    ) -> None:
        fine, coarse = declared.views
        with pytest.raises(DeclarationError, match=r"expected the key .* got .* run braid apply tables_"):
            tables.apply_schema(replace(declared, views=(replace(fine, by=fine.by[::-1]), coarse)))


class TestCassandraAlerts(contracts.AlertsContract):
    @pytest.fixture
    def alerts(self, stores: cassandra.Stores) -> cassandra.CassandraAlerts:
        return stores.alerts


class TestCassandraAcknowledgements(contracts.AcknowledgementsContract):
    @pytest.fixture
    def acknowledgements(self, stores: cassandra.Stores) -> cassandra.CassandraAcknowledgements:
        return stores.acknowledgements


class TestCassandraDeadLetters(contracts.DeadLettersContract):
    @pytest.fixture
    def dead_letters(self, stores: cassandra.Stores) -> cassandra.CassandraDeadLetters:
        return stores.dead_letters


class TestCassandraProjections(contracts.ProjectionsContract):
    @pytest.fixture
    def projections(self, stores: cassandra.Stores) -> cassandra.CassandraProjections:
        return stores.projections

    @pytest.fixture
    def readable(self, session: Session) -> Callable[[str], list[dict[str, Any]]]:
        def rows(name: str) -> list[dict[str, Any]]:
            table = next(t for t in cql.projections(DECLARATION) if t.name == name)
            return [_readable(dict(zip(table.names, found, strict=True))) for found in session.run(table.select(""))]

        return rows


def _readable(columns: dict[str, Any]) -> dict[str, Any]:
    """Add the start of the window in microseconds; the driver's datetimes are naive and mean UTC."""
    start = columns.get("window_start")
    return (
        columns if start is None else columns | {"window_start_us": int(start.replace(tzinfo=UTC).timestamp()) * 10**6}
    )


# ---- compare-and-set: what became of it ----------------------------------------------------------------------------


class Faulty(Session):
    """A session on the same connection whose compare-and-sets lose their answer.

    `script` holds one word per compare-and-set: `lost` (done, the answer is lost), `never` (not sent), `late` (not
    sent, and neither is the read that follows it answered), `ok`.
    """

    def __init__(self, session: Session, script: Sequence[str]) -> None:
        super().__init__(session.where, session._cluster, session._session, self.paused, lambda: self.waited_s)
        self.script = list(script)
        self.waited_s = 0.0
        self.deaf = False

    def paused(self, seconds: float) -> None:
        self.waited_s += seconds

    def compare_and_set(self, statement: str, arguments: Sequence[Any]) -> bool:
        word = self.script.pop(0) if self.script else "ok"
        self.deaf = word == "late"
        done = word in {"lost", "ok"} and super().compare_and_set(statement, arguments)
        if word == "ok":
            return done
        raise NoAnswer(f"{word}: no answer")

    def run_serial(self, statement: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self.deaf:
            raise NoAnswer("deaf: no answer")
        return super().run_serial(statement, arguments)


class Deaf(Faulty):
    """A session whose first plain writes find no host."""

    def __init__(self, session: Session, failures: int) -> None:
        super().__init__(session, [])
        self.failures = failures

    def _send(self, statement: str, values: list[list[Any]]) -> None:
        if self.failures:
            self.failures -= 1
            raise NoHostAvailable("Unable to complete the operation against any hosts", {})
        super()._send(statement, values)


@pytest.mark.parametrize(
    "script", [["lost"], ["never"], ["late"], ["late", "lost"], ["never", "late", "never", "lost"]]
)
def test_an_append_whose_answer_is_lost_is_found_out(
    ledger: CassandraLedger, session: Session, script: list[str]
) -> None:
    begin(ledger)
    faulty = Faulty(session, script)
    CassandraLedger(faulty, DECLARATION).append(row(1))
    assert ledger.head() == row(1)
    assert faulty.script == []


def test_an_answer_lost_at_a_failpoint_is_found_out_and_the_row_is_there_once(
    ledger: CassandraLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoints, "_armed", failpoints.Armed("speed.ledger:unknown,batch.cas:unknown", tmp_path))
    begin(ledger)
    ledger.append(row(1))
    assert ledger.head() == row(1)
    served = Current(1, 1, row(1).end, "", "", 5)
    ledger.publish(served, 0)
    assert ledger.current() == served
    assert {path.name for path in (tmp_path / failpoints.FOLDER).iterdir()} == {
        "speed.ledger:unknown",
        "batch.cas:unknown",
    }


@pytest.mark.parametrize("word", ["lost", "never", "late", "ok"])
def test_the_loser_learns_it_whatever_answer_is_lost(ledger: CassandraLedger, session: Session, word: str) -> None:
    begin(ledger)
    ledger.append(row(1, "winner"))
    with pytest.raises(LostRace, match=re.escape("ledger seq 1: expected it to be free, got a row of writer winner")):
        CassandraLedger(Faulty(session, [word]), DECLARATION).append(row(1, "loser"))
    assert ledger.head() == row(1, "winner")


def test_an_append_that_cannot_be_found_out_ends_in_half_a_minute(ledger: CassandraLedger, session: Session) -> None:
    begin(ledger)
    faulty = Faulty(session, ["late"] * 100)
    with pytest.raises(StoreUnavailable) as raised:
        CassandraLedger(faulty, DECLARATION).append(row(1))
    assert str(raised.value) == (
        f"{DECLARATION.dataset}: ledger seq 1: expected to learn whether it was written, got no answer; "
        "end this process: the next start reads what became of it (deaf: no answer)"
    )
    assert 25 < faulty.waited_s < 30
    assert len(faulty.script) < 90
    assert ledger.head() == genesis()


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_a_write_is_tried_again_until_it_is_done(stores: cassandra.Stores, session: Session, failures: int) -> None:
    deaf = Deaf(session, failures)
    cassandra.CassandraFragments(deaf, DECLARATION).write(BY_MINUTE, 0, row(1).attempt, [fragment(1, 0, "oslo", "a")])
    assert stores.fragments.read(BY_MINUTE, [row(1)]) == [fragment(1, 0, "oslo", "a")]
    assert deaf.failures == 0


def test_a_write_that_is_never_answered_is_an_error_in_half_a_minute(session: Session) -> None:
    deaf = Deaf(session, 10**6)
    with pytest.raises(StoreUnavailable) as raised:
        cassandra.CassandraFragments(deaf, DECLARATION).write(BY_MINUTE, 0, 1, [fragment(1, 0, "oslo", "a")])
    assert str(raised.value) == (
        f"cassandra {session.where}: INSERT INTO {DECLARATION.dataset}.rides_by_minute__fragments …: "
        "no host is up; see `braid status` and `braid logs cassandra`"
    )
    assert 25 < deaf.waited_s < 30


@pytest.mark.parametrize("script", [["lost"], ["never"], ["late", "lost"]])
def test_a_publication_whose_answer_is_lost_is_found_out(
    ledger: CassandraLedger, session: Session, script: list[str]
) -> None:
    begin(ledger)
    wanted = Current(1, 0, genesis().end, DECLARATION.hash, "{}", 5)
    CassandraLedger(Faulty(session, script), DECLARATION).publish(wanted, expected_gen=0)
    assert ledger.current() == wanted


def test_a_publication_of_the_same_number_by_another_run_is_a_lost_race(
    ledger: CassandraLedger, session: Session
) -> None:
    begin(ledger)
    ledger.publish(Current(1, 0, genesis().end, DECLARATION.hash, '{"by": "other"}'), expected_gen=0)
    with pytest.raises(LostRace, match="expected generation 0 to be served, got 1"):
        mine = Current(1, 0, genesis().end, DECLARATION.hash, '{"by": "me"}')
        CassandraLedger(Faulty(session, ["lost"]), DECLARATION).publish(mine, expected_gen=0)


def test_of_many_writers_at_once_exactly_one_wins_each_seq(ledger: CassandraLedger, session: Session) -> None:
    begin(ledger)

    def race(name: int) -> list[int]:
        own, won = CassandraLedger(session, DECLARATION), []
        for seq in range(1, 6):
            try:
                own.append(row(seq, f"writer {name}"))
                won.append(seq)
            except LostRace:
                pass
        return won

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(race, range(6)))
    assert sorted(seq for seqs in won for seq in seqs) == [1, 2, 3, 4, 5]
    for name, seqs in enumerate(won):
        assert all(ledger.rows(seq - 1, seq)[0].writer == f"writer {name}" for seq in seqs)


# ---- what the tables hold ------------------------------------------------------------------------------------------


def test_no_write_leaves_a_tombstone(stores: cassandra.Stores, session: Session) -> None:
    begin(stores.ledger)
    stores.ledger.append(row(1))  # maps and texts that are empty
    empty = contracts.State(1, 1, (contracts.NO_MOMENTS, contracts.NO_MOMENTS))
    stores.fragments.write(BY_MINUTE, 0, 1, [fragment(1, 0, "oslo", "a", state=empty)])
    unusual = contracts.alert(1, 2, z=None)
    stores.alerts.write(0, 1, [unusual])
    stores.projections.upsert(BY_MINUTE, 1, contracts.ProjectionsContract.ONE)
    stores.projections.alerts(ODD, [unusual])
    for name in ("ledger", "current", f"{BY_MINUTE.name}__fragments", "alerts__log", BY_MINUTE.name, ODD.name):
        found = session._session.execute(f"SELECT * FROM {DECLARATION.dataset}.{name}", trace=True)
        said = " ".join(event.description for event in found.get_query_trace(max_wait_sec=10).events)
        assert re.search(r"Read [12] live rows,? and 0 tombstone", said), (name, said)


def test_what_may_expire_carries_its_time_to_live(stores: cassandra.Stores, session: Session) -> None:
    stores.fragments.write(BY_MINUTE, 0, 1, [fragment(1, 0, "oslo", "a")])
    stores.dead_letters.write(1, 1, [letter(1)])
    stores.alerts.write(0, 1, [contracts.alert(1, 2)])
    stores.projections.alerts(ODD, [contracts.alert(1, 2)])
    limits = {f"{BY_MINUTE.name}__fragments": ("n", 72 * 3600)}
    limits |= dict.fromkeys(("alerts__log", ODD.name), ("z", 30 * 86400)) | {"dead_letters": ("raw", 30 * 86400)}
    for name, (column, seconds) in limits.items():
        ((left,),) = session.run(f"SELECT TTL({column}) FROM {DECLARATION.dataset}.{name}")
        assert seconds - 60 < left <= seconds, name


def test_more_rows_than_a_page_are_read(stores: cassandra.Stores) -> None:
    written = [fragment(1, k * contracts.MINUTE_US, "oslo", "a") for k in range(11_000)]
    stores.fragments.write(BY_MINUTE, 0, row(1).attempt, written)
    assert stores.fragments.read(BY_MINUTE, [row(1)]) == written


def test_of_every_partition_the_newest_dead_letters_are_found(stores: cassandra.Stores) -> None:
    written = [replace(letter(k, 1_700_000_000_000_000 + k * 7 + p), partition=p) for k in range(40) for p in range(3)]
    stores.dead_letters.write(1, 1, written)
    newest = sorted(written, key=lambda d: -d.append_us)
    for limit in (1, 4, 50, 500):
        assert stores.dead_letters.newest(limit) == newest[:limit]


def test_times_are_readable_and_in_their_own_unit(stores: cassandra.Stores, session: Session) -> None:
    stores.projections.alerts(ODD, [contracts.alert(1, 2, event_us=1_700_000_000_123_999)])
    table = cql.alert_table(DECLARATION, ODD)
    (found,) = (dict(zip(table.names, r, strict=True)) for r in session.run(table.select("")))
    assert found["taken_at"].replace(tzinfo=UTC) == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert (str(found["day"]), found["fare_usd"], found["ride"], found["seats"]) == (
        "2023-11-14",
        1000.01,
        "ride 2",
        None,
    )
    assert found["topic"] == TOPIC


# ---- the schema and the connection ---------------------------------------------------------------------------------


def test_applying_the_schema_again_keeps_every_row(stores: cassandra.Stores, session: Session) -> None:
    begin(stores.ledger)
    cassandra.Cassandra(session).apply_schema(DECLARATION)
    assert stores.ledger.head() == genesis()


def test_tables_of_another_declaration_are_refused(session: Session) -> None:
    text = DECLARATION.text.replace("fare: {of: fare_usd, stats: [mean, stddev]}", "fee: {of: fare_usd, stats: [mean]}")
    changed = replace(parse(text), dataset=DECLARATION.dataset)
    with pytest.raises(DeclarationError) as raised:
        cassandra.Cassandra(session).apply_schema(changed)
    assert str(raised.value) == (
        f"cassandra {session.where}: {DECLARATION.dataset}.rides_by_city__fragments: expected column fee__n varint, "
        "got none; the table was made by another declaration: run braid apply " + DECLARATION.dataset
    )


def test_every_word_of_the_language_may_be_a_column(session: Session) -> None:
    words = sorted(w for w in cql_keywords if re.fullmatch("[a-z][a-z0-9_]*", w))
    table = cql.Table(DECLARATION.dataset, "words", tuple((w, "int") for w in words), (words[0],))
    session.define(table.create())
    session.write(table.insert(), [range(len(words))])
    assert session.run(table.select("")) == [tuple(range(len(words)))]


def test_a_keyspace_that_is_not_there_names_the_remedy(session: Session) -> None:
    absent = replace(DECLARATION, dataset="never_made")
    with pytest.raises(StoreUnavailable) as raised:
        CassandraLedger(session, absent).head()
    assert str(raised.value) == (
        f"cassandra {session.where}: SELECT … FROM never_made.current WHERE dataset = ?: Error from server: code=2200 "
        '[Invalid query] message="keyspace never_made does not exist"; apply the schema: braid up'
    )


def test_where_nothing_listens_the_error_says_so(stack: Settings) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = held.getsockname()[1]
        with pytest.raises(StoreUnavailable) as raised:
            cassandra.connect(stack.with_ports(replace(Ports(), cassandra=port)))
    assert str(raised.value).startswith(f"cassandra 127.0.0.1:{port}: expected a connection, got ")
    assert str(raised.value).endswith("; start it: braid up")


def test_a_connection_closes_at_the_end_of_its_block(stack: Settings) -> None:
    with cassandra.connect(stack) as connection:
        connection.apply_schema(DECLARATION)
    with pytest.raises(StoreUnavailable):
        connection.apply_schema(DECLARATION)
