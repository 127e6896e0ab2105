"""The rows of the fault matrix: what is killed or broken, at which moments, on a running campaign.

A row is a function of the campaign and one of its moments. It leaves the system healing; the campaign then stops the
load, waits until everything is counted, and checks. The order is the one of `make test`: what a row leaves behind (a
generation, copies, a second file of seen ids) is in the way of the next.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.services.faults import batch_rows, gap_rows, serving_rows, store_rows, stream_rows
from tests.services.faults.campaign import Campaign

OFTEN = 3  # how often `make faults` is to hit each failpoint


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes
    ----------
    moments : of which `make test` takes one, by the seed; empty: another row of `make test` does this one too
    run : breaks the campaign at a moment
    allowed : what else may be seen: `cut` connections, HTTP `503`, an as_of that goes `back`
    campaign : the moments that `make faults` takes, all of them (default: the same)
    quick : of these, the ones that reach their failpoints in seconds: `make faults` takes them three times
    turn : rows of one turn alternate in `make test`, by the seed; heavy ones only in their turn among the long suites (`turns`)
    """

    name: str
    title: str
    moments: tuple[str, ...]
    run: Callable[[Campaign, str], None]
    allowed: str = ""
    campaign: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    turn: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "campaign", self.campaign or self.moments)

    def moment(self, seed: int) -> str:
        """Return the moment that `make test` takes with a seed."""
        return self.moments[seed // 7 % len(self.moments)]


def _of(places: tuple[str, ...], action: str) -> tuple[str, ...]:
    return tuple(f"{place}:{action}" for place in places)


def _at(choices: tuple[str, ...], number: int) -> str:
    return choices[number % len(choices)]


ROWS = (
    Row("F1", "kill -9 producer, resume", ("acked", "sent", "before_send", "mid_file"), serving_rows.producer_killed,
        quick=("acked", "sent", "before_send", "mid_file")),
    Row("F12", "kill -9 the API, its worker, often asked", ("api", "worker", "tail"), serving_rows.api_killed, "cut 503",
        quick=("tail",)),
    Row("F4 F5 F20", "kill -9 Spark driver, over a damaged checkpoint and another declaration's file",
        tuple(f"{step}+{_at(stream_rows.HARMS, i)}+{_at(stream_rows.FILES, i)}" for i, step in enumerate(stream_rows.STEPS)),
        stream_rows.over_everything),
    Row("F4", "kill -9 Spark driver", _of(stream_rows.STEPS, "kill9"), stream_rows.killed, campaign=_of((*stream_rows.STEPS, *stream_rows.STARTS), "kill9")),
    Row("F4 alive", "an error in the driver, the process living on",
        (*_of((*stream_rows.STEPS, *stream_rows.STARTS), "raise"), "ledger:unknown"), stream_rows.killed,
        quick=(*_of((*stream_rows.STEPS, *stream_rows.STARTS), "raise"), "ledger:unknown")),
    Row("F5", "the checkpoint lost or damaged while the driver is down", (), stream_rows.checkpoint, campaign=stream_rows.HARMS),
    Row("F6", "two drivers", ("fragments", "alerts", "ledger", "committed", "projected"), stream_rows.two_drivers,
        turn="heavy"),
    Row("F20", "another declaration in the file, a micro-batch cut short", (), stream_rows.changed_file,
        campaign=stream_rows.FILES),
    Row("F2", "kill -9 Kafka", ("load", "idle", "twice"), store_rows.kafka_killed, turn="kafka"),
    Row("F3", "SIGSTOP Kafka", ("8",), store_rows.kafka_stopped, campaign=("40",), turn="kafka"),
    Row("F7", "kill -9 Cassandra", ("fragments", "ledger", "any"), store_rows.cassandra_killed, turn="cassandra"),
    Row("F8", "SIGSTOP Cassandra", ("12",), store_rows.cassandra_stopped, campaign=("30",), turn="cassandra"),
    Row("F24", "a soak of faults at random", ("20",), serving_rows.soak, "cut 503", ("120",), turn="batch or soak"),
    Row("F9", "kill -9 batch job", _of(batch_rows.STEPS, "kill9"), batch_rows.killed,
        campaign=("cas:unknown", "audited:raise"), turn="batch or soak"),
    Row("F9 everywhere", "kill -9 one batch job after another, at each place", (), batch_rows.killed_everywhere, campaign=("all",), quick=("all",)),
    Row("F10", "two batch jobs; a batch while the driver restarts", ("audited", "driver restarts"), batch_rows.two_jobs,
        campaign=("audited", "driver restarts", "partition_added"), turn="heavy"),
    Row("F11", "a byte flipped, a file deleted: of the served generation, of the master", ("master",),
        batch_rows.damaged, "cut 503 back", ("flip", "delete", "master"), turn="heavy"),
    Row("F12 loading", "kill -9 the API during a publication", ("loading",), serving_rows.api_killed_while_loading, "cut 503",
        quick=("loading",), turn="heavy"),
    Row("F19", "fragments expired before a batch covered them", ("expired",), gap_rows.fragments_expired, "cut 503 back",
        turn="heavy"),
    Row("F15", "kill -9 of everything within a second", ("supervisor too",), store_rows.all_killed, "cut 503",
        ("five", "supervisor too"), turn="heavy"),
    Row("F18", "records deleted before they were counted", ("past head",), gap_rows.retention, turn="heavy"),
    Row("F17", "the topic created again; partitions added", ("partitions",), gap_rows.topic_changed,
        campaign=("created again", "partitions"), turn="heavy"),
)  # fmt: skip


# those that `make test` takes; the others are for `make faults` alone
IN_TEST = (
    "F1", "F12", "F4 F5 F20", "F4 alive", "F2", "F3", "F7", "F8", "F24", "F9",
    "F6", "F10", "F11", "F12 loading", "F15", "F17", "F18", "F19",
)  # fmt: skip


def of_commit(seed: int) -> list[tuple[Row, str]]:
    """Return the rows that `make test` takes with a seed, each with its moment."""
    rows = [row for row in ROWS if row.name in IN_TEST]
    turns: dict[str, list[Row]] = {}
    for row in rows:
        turns.setdefault(row.turn, []).append(row)
    taken = [row for row in rows if not row.turn or row is turns[row.turn][seed % len(turns[row.turn])]]
    return [(row, row.moment(seed)) for row in taken]


def lap(chosen: Sequence[Row], chance: random.Random) -> list[tuple[Row, str]]:
    """Return all moments of some rows in an order of chance: the quick ones three times, one of the others after each third."""
    quick = [(row, moment) for row in chosen for moment in row.quick]
    others = [(row, moment) for row in chosen for moment in row.campaign if moment not in row.quick]
    chance.shuffle(others)
    found, waiting = [], iter(others)
    for turn in range(OFTEN):
        chance.shuffle(quick)
        for number, pair in enumerate(quick, start=turn * len(quick) + 1):
            found.append(pair)
            if number % 3 == 0:
                found += [other for other in [next(waiting, None)] if other]
    return [*found, *waiting]
