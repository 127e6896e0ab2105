"""A small world for the serving layer: the ports' twins, a log of events, and the naive recompute of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from braid import ledger as chain
from braid.adapters.memory import (
    FixedClock,
    MemoryAcknowledgements,
    MemoryAlerts,
    MemoryFragments,
    MemoryGenerations,
    MemoryLedger,
    audit_of,
)
from braid.aggregates import FIELDS, Held, Moments, Order, State, held_of
from braid.alerts import Alert
from braid.declaration import Declaration, ViewSpec
from braid.declaration_reader import parse
from braid.errors import StoreUnavailable
from braid.instants import instant_us
from braid.ledger import Current, LedgerRow, Range
from braid.settings import Settings
from braid.views import Fragment, View, fold, totals
from serving.app import create_app
from serving.follower import Stores
from serving.guard import Access
from serving.service import Dataset, Service

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
MINUTE_US = 60_000_000

RIDES = parse(
    """
dataset: rides
title: Rides
topic: rides-log
event_id: [ride, taken_at]
event_time: {field: taken_at, zone: UTC}
batch: {every: 10 minutes}
fields:
  ride:     {type: string}
  taken_at: {type: time}
  city:     {type: string, values: [Bern, Lima, Oslo]}
  vendor:   {type: string}
  fare_usd: {type: decimal, scale: 2, unit: USD}
views:
  rides_by_minute:
    title: Fares per minute
    by: [city, vendor]
    window: 1 minute
    measures: {fare: {of: fare_usd, stats: [n, sum, mean, stddev, min, max]}}
    rename: {fare_mean: fare_avg}
  rides_by_city:
    by: [city]
    window: all
    measures: {fare: {of: fare_usd, stats: [mean, stddev, min, max]}}
alerts:
  odd_fares: {of: fare_usd, by: [city], rule: sigma, beyond: 3, show: [ride, vendor]}
api:
  /api/rides/newest: {view: rides_by_minute, newest_window: true, rename: {fare_avg: avg}}
  /api/rides/odd: {alerts: odd_fares, rename: {fare_usd: fare}}
  /api/rides/history: {view: rides_by_city, layer: batch}
""",
    where="tests/unit/serving_world.py",
)
PLACE = ("rides-log", 0)
TOPIC_IDS = {"rides-log": "topic-1"}  # as a MemoryLog names its first


@dataclass(frozen=True, slots=True)
class Ride:
    """One good event."""

    id64: int
    event_us: int
    values: dict[str, str | int | None]


def ride(number: int, city: str, cents: int, minute: int = 0, vendor: str = "a") -> Ride:
    """Return a ride of some fare in a minute after the start; its id follows from its number."""
    id64 = (number * 0x9E3779B97F4A7C15) % (1 << 64) - (1 << 63)
    return Ride(id64, START_US + minute * MINUTE_US, {"city": city, "vendor": vendor, "fare_usd": cents})


class AtOnce(Executor):
    """Runs what is submitted before it returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future holds whatever was raised
            future.set_exception(error)
        return future


class Monotonic:
    """Monotonic seconds that stand still until they are told."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


class Faulty:
    """A port whose store can be down: while it is, every method raises."""

    def __init__(self, port: Any, name: str) -> None:
        self.down = False
        self._port = port
        self._name = name

    def __getattr__(self, method: str) -> Any:
        if self.down:
            raise StoreUnavailable(f"{self._name}: no answer")
        return getattr(self._port, method)


class Kept:
    """The port `PastGenerations` over the twin of the generations: what was published, and not yet dropped."""

    def __init__(self, generations: MemoryGenerations) -> None:
        self.currents: dict[int, Current] = {}
        self._generations = generations

    def chain(self, gen: int, length: int) -> list[int]:
        """Return the published ones up to `gen`, the newest first."""
        return sorted((g for g in self.currents if g <= gen), reverse=True)[:length]

    def published(self, gen: int) -> Current:
        """Return a generation; StoreUnavailable when it was dropped."""
        if gen == 0:
            return Current(0, 0, {}, "")
        if gen not in self.currents:
            raise StoreUnavailable(f"generation {gen}: no manifest")
        return self.currents[gen]

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of it."""
        return self._generations.view(current, view)


def places_of(seq: int, count: int, start: int) -> list[Order]:
    """Return the places of a micro-batch's events in ledger order, which stand one after the other."""
    return [(seq, *PLACE, start + i) for i in range(count)]


@dataclass
class World:
    """One dataset on twins; `commit` is a micro-batch, `publish` a batch run, `step` one look of the follower."""

    declaration: Declaration = RIDES
    clock: FixedClock = field(default_factory=lambda: FixedClock(START_US + 3600 * 1_000_000))
    monotonic: Monotonic = field(default_factory=Monotonic)
    events: list[list[Ride]] = field(default_factory=lambda: [[]])  # by seq

    def __post_init__(self) -> None:
        self.kept = MemoryLedger()
        self.kept_generations = MemoryGenerations()
        self.past = Kept(self.kept_generations)
        self.fragments = MemoryFragments()
        self.alerts = MemoryAlerts()
        self.words = Faulty(MemoryAcknowledgements(), "cassandra")
        self.ledger = Faulty(self.kept, "cassandra")
        self.generations = Faulty(self.kept_generations, "hive")
        self.hive_down = False
        self.log_end = {PLACE: 0}
        self.held_log = ({PLACE: 0}, TOPIC_IDS)  # earliest offsets and topic ids, as the broker says

    def genesis(self) -> World:
        """Create the dataset."""
        row = chain.genesis(TOPIC_IDS, [PLACE], self.declaration.hash, self.declaration.text, "world")
        row = replace(row, committed_at_us=START_US)
        self.kept.create(row, Current(0, 0, row.end, self.declaration.hash))
        return self

    def commit(self, events: Sequence[Ride], *, alerts: Sequence[Alert] = (), **changed: Any) -> LedgerRow:
        """Commit a micro-batch of good events, whole, or with its ledger row changed."""
        head = self.kept.head()
        seq, end = head.seq + 1, head.end[PLACE] + len(events)
        places = places_of(seq, len(events), head.end[PLACE])
        states = {view.name: fold(view, events, places) for view in self.declaration.fragment_views}
        sums = {name: totals(view) for name, view in states.items()}
        row = LedgerRow(
            seq, "micro", seq * 7, "world", Range(dict(head.end), {PLACE: end}), good=len(events),
            fp=sum(e.id64 for e in events) % (1 << 64),
            view_n={name: n for name, (n, _) in sums.items()}, view_fp={name: fp for name, (_, fp) in sums.items()},
            alerts=len(alerts), definition=self.declaration.hash, topic_ids=head.topic_ids, committed_at_us=START_US + seq * 1_000_000,
        )  # fmt: skip
        row = replace(row, **changed)
        row = chain.with_totals(head, row)
        for name, view in states.items():
            written = [Fragment(seq, start, key, state) for (start, key), state in view.items()]
            self.fragments.write(self.declaration.view(name), row.bucket, row.attempt, written)
        self.alerts.write(row.bucket, row.attempt, [replace(a, seq=seq) for a in alerts])
        self.kept.append(row)
        self.events.append(list(events))
        self.log_end = {PLACE: max(end, self.log_end[PLACE])}
        return row

    def naive(self, view: str, after: int = 0, through: int | None = None) -> dict[Any, Any]:
        """Return the view of the events of after < seq <= through, folded in one piece."""
        last = len(self.events) - 1 if through is None else through
        events = [e for seq in range(after + 1, last + 1) for e in self.events[seq]]
        places = [
            place
            for seq in range(after + 1, last + 1)
            for place in places_of(seq, len(self.events[seq]), sum(map(len, self.events[:seq])))
        ]
        return fold(self.declaration.view(view), events, places)

    def publish(self, gen: int, cut_seq: int | None = None, *, tamper: bool = False) -> Current:
        """Publish a generation of everything through a seq."""
        cut = self.kept.head().seq if cut_seq is None else cut_seq
        (row,) = self.kept.rows(cut - 1, cut)
        states: dict[str, View] = {v.name: self.naive(v.name, 0, cut) for v in self.declaration.views}
        if gen not in self.kept_generations._held:
            held = {name: dict(list(view.items())[1:]) for name, view in states.items()} if tamper else states
            self.kept_generations.hold(gen, held)
        current = Current(
            gen, cut, row.end, self.declaration.hash, audit_of(self.declaration, states), START_US + cut * 1_000_000
        )
        self.kept.publish(current, self.kept.current().gen)
        self.past.currents[gen] = current
        return current

    def alive(self) -> None:
        """Answer for HiveServer2."""
        if self.hive_down:
            raise StoreUnavailable("hive: no answer")

    def stores(self) -> Stores:
        """Open the stores."""
        return Stores(self.ledger, self.fragments, self.alerts, self.generations, self.past)  # type: ignore[arg-type]


def service_of(*worlds: World) -> Service:
    """Return a service over some worlds, not started."""
    datasets = {
        w.declaration.dataset: Dataset(w.declaration, w.stores, lambda w=w: dict(w.log_end), lambda w=w: w.held_log, said=lambda w=w: w.words)  # type: ignore[misc]
        for w in worlds
    }  # fmt: skip
    first = worlds[0]
    service = Service(datasets, first.alive, first.clock, first.monotonic)
    for follower in service.followers.values():
        follower._executor = AtOnce()
    return service


def app_of(*worlds: World, root: Path | None = None, access: Access | None = None) -> Flask:
    """Return the application over some worlds, not started."""
    settings = settings_of(root or Path(__file__).parents[2])
    return create_app(settings, service_of(*worlds), access)


def settings_of(root: Path) -> Settings:
    """Return settings of a checkout; nothing of the machine is looked at."""
    return Settings.of(
        {}, root=root, python=Path("/usr/bin/python3"), spark_home=root, user_home=root, memory_bytes=16 * 10**9
    )


def client_of(*worlds: World, access: Access | None = None) -> FlaskClient:
    """Return a client of an application that has looked once."""
    app = app_of(*worlds, access=access)
    app.extensions["braid"].step()
    return app.test_client()


def step(client: FlaskClient) -> None:
    """Let every follower and watch look once more, at `current` too, though no time has passed."""
    service = client.application.extensions["braid"]
    for follower in service.followers.values():
        follower._current_s = 0.0
    service.step()


def states_of(answer: Any, declaration: Declaration, view: str) -> dict[Any, Any]:
    """Return an answer's exact states in the form of a view, to be compared with ==."""
    spec = declaration.view(view)
    found = {}
    for row in answer["data"]:
        start = instant_us(row["window_start"]) if spec.window_us else 0
        measures: list[Held] = []
        for m in spec.measures:
            s = row["state"]["measures"][m.id]
            if m.kind == "moments":
                measures.append(Moments(s["n"], int(s["sum"]), int(s["sumsq"]), s["min"], s["max"]))
            else:
                measures.append(held_of(m.kind, [s[name] for name in FIELDS[m.kind]]))
        key = tuple(row[column] for column in spec.by)
        found[start, key] = State(row["state"]["n"], int(row["state"]["fp"]), tuple(measures))
    return found


def alert(seq_event_us: int, city: str, cents: int, offset: int) -> Alert:
    """Return an alert; its seq is set when it is committed."""
    values = {"fare_usd": cents, "ride": f"r{offset}", "vendor": "a"}
    return Alert("odd_fares", 0, *PLACE, offset, seq_event_us, (city,), values, 3.5, 40, 10.0, 1.5)
