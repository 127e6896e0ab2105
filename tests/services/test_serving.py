"""The API over the real stores: exact in every layer, through publications, and when a store cannot be reached."""

import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from braid.aggregates import Moments, State
from braid.declaration_reader import parse
from braid.instants import instant_us
from braid.settings import LOOPBACK, Settings
from braid.views import digest, fold
from tests.services.api import CHECKOUT, Api, Wire, landcover_as, running_api
from tests.services.seed import Seeded, patches

VIEWS = ("realtime_ndvi_by_class", "landcover_aggregates", "spectral_by_class")


@dataclass
class World:
    """A seeded dataset, the API over it, and the wires between them."""

    seeded: Seeded
    api: Api
    cassandra: Wire
    hive: Wire

    @property
    def dataset(self) -> str:
        return self.seeded.declaration.dataset

    def view(self, name: str, query: str = "") -> dict:
        return self.api.get(f"/api/v1/datasets/{self.dataset}/views/{name}?state=1{query}")

    def expected(self, view: str, start: int = 0, end: int | None = None) -> dict:
        """Return the fold of the events of offsets [start, end)."""
        return fold(self.seeded.declaration.view(view), self.seeded.events[start:end])

    def states(self, answer: dict) -> dict:
        """Return an answer's exact states as a view."""
        spec, found = self.seeded.declaration.view(answer["meta"]["view"]), {}
        for row in answer["data"]:
            exact = row["state"]
            measures = [exact["measures"][m.name] for m in spec.measures]
            place = (instant_us(row["window_start"]) if spec.window_us else 0, tuple(row[c] for c in spec.by))
            found[place] = State(
                exact["n"], int(exact["fp"]),
                tuple(Moments(m["n"], int(m["sum"]), int(m["sumsq"]), m["min"], m["max"]) for m in measures),
            )  # fmt: skip
        return found

    def check(self, view: str) -> dict:
        """Assert that a merged answer is the recompute at its own as_of, and return its meta."""
        answer = self.view(view)
        end = next(iter(answer["meta"]["as_of"]["offsets"].values()))
        assert self.states(answer) == self.expected(view, 0, end)
        assert answer["meta"]["digest"] == digest(self.expected(view, 0, end))
        return answer["meta"]


@pytest.fixture(scope="module")
def world(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield a dataset of 20 micro-batches, the first 12 of them in generation 1."""
    name = f"serving{os.getpid()}"
    text = landcover_as(name)
    seeded = Seeded(stack, parse(text, name))
    wires = Wire(stack.ports.cassandra), Wire(stack.ports.hive)
    try:
        seeded.genesis()
        events = patches(CHECKOUT / "data", 1000)
        for start in range(0, 1000, 50):
            seeded.commit(events[start : start + 50])
            if start == 550:
                seeded.publish()
        with running_api(
            stack, tmp_path_factory.mktemp("api"), {name: text}, cassandra=wires[0].port, hive=wires[1].port
        ) as api:
            found = World(seeded, api, *wires)
            api.complete_at(name, 20)
            yield found
    finally:
        for wire in wires:
            wire.close()
        seeded.close()


def more(world: World, size: int = 20) -> int:
    """Commit the next micro-batch and return its seq."""
    known = len(world.seeded.events)
    return world.seeded.commit(patches(CHECKOUT / "data", known + size)[known:]).seq


def test_every_layer_of_every_view_is_exact(world: World) -> None:
    for view in VIEWS:
        assert world.check(view)["as_of"] == {
            "generation": 1, "cut_seq": 12, "seq": 20, "offsets": {f"{world.dataset}-events:0": 1000}
        }  # fmt: skip
        assert world.states(world.view(view, "&layer=batch")) == world.expected(view, 0, 600)
        assert world.states(world.view(view, "&layer=speed")) == world.expected(view, 600, 1000)
    stats = {row["class_name"]: row["n"] for row in world.api.get("/api/batch/class-stats")}
    assert stats == {key[0]: s.n for (_, key), s in world.expected("landcover_aggregates", 0, 600).items()}


def test_at_no_moment_does_an_answer_differ_while_generations_are_published(world: World) -> None:
    done = threading.Event()
    failures: list[BaseException] = []
    seen: list[tuple[int, int]] = []

    def poll() -> None:
        try:
            while not done.is_set():
                for view in VIEWS:
                    as_of = world.check(view)["as_of"]
                    seen.append((as_of["generation"], as_of["seq"]))
        except BaseException as error:  # noqa: BLE001 - the test itself raises it
            failures.append(error)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        last, published = 0, 1
        for turn in range(30):
            last = more(world)
            if turn in {5, 12, 19, 26}:
                published = world.seeded.publish().gen
        world.api.complete_at(world.dataset, last)
        world.api.until("the last generation", lambda: world.check(VIEWS[0])["as_of"]["generation"] == published)
    finally:
        done.set()
        poller.join(60)
    assert not failures, failures[0]
    assert seen == sorted(seen), "answers went back"
    assert len(seen) > 100
    assert {generation for generation, _ in seen} >= {1, published} and len({seq for _, seq in seen}) > 10


def test_cassandra_out_of_reach_answers_stay_exact_say_so_and_recover(world: World) -> None:
    seq = world.check(VIEWS[0])["as_of"]["seq"]
    world.cassandra.cut()
    meta = world.api.until("incomplete", lambda: not (m := world.check(VIEWS[0]))["complete"] and m, 20)
    assert [m["what"] for m in meta["missing"]] == ["cassandra"] and meta["as_of"]["seq"] == seq
    with pytest.raises(urllib.error.HTTPError, match="503"):
        world.api.get("/readyz")
    seq = more(world)
    world.cassandra.mend()
    world.api.complete_at(world.dataset, seq)
    world.check(VIEWS[0])


def test_hive_out_of_reach_the_loaded_generation_goes_on_and_the_next_is_loaded_afterwards(world: World) -> None:
    before = world.check(VIEWS[0])["as_of"]["generation"]
    world.hive.cut()
    world.api.until("hive is missed", lambda: [m["what"] for m in world.check(VIEWS[0])["missing"]] == ["hive"], 20)
    seq = more(world)
    world.api.until("the tail grows", lambda: world.check(VIEWS[0])["as_of"]["seq"] == seq)
    after = world.seeded.publish().gen
    meta = world.api.until("it waits", lambda: len((m := world.check(VIEWS[0]))["missing"]) == 2 and m)
    assert meta["as_of"]["generation"] == before and {m["what"] for m in meta["missing"]} == {"generation", "hive"}
    world.hive.mend()
    world.api.until("the next one", lambda: world.check(VIEWS[0])["as_of"]["generation"] == after)
    world.api.complete_at(world.dataset, seq)


def test_a_worker_killed_is_replaced_and_answers_go_on_from_where_they_were(world: World) -> None:
    (worker,) = psutil.Process(world.api.process.pid).children()
    before = world.check(VIEWS[0])["as_of"]
    worker.send_signal(signal.SIGKILL)
    meta = world.api.until("a new worker", lambda: worker.pid not in _children(world) and world.check(VIEWS[0]))
    assert meta["as_of"]["seq"] >= before["seq"]
    world.api.complete_at(world.dataset, before["seq"])


def _children(world: World) -> list[int]:
    return [child.pid for child in psutil.Process(world.api.process.pid).children()]


def test_a_micro_batch_is_visible_soon_after_its_commit(world: World) -> None:
    waits = []
    for _ in range(10):
        seq = more(world)
        started = world.seeded.stores.ledger.head().committed_at_us
        world.api.until("visible", lambda seq=seq: world.view(VIEWS[1])["meta"]["as_of"]["seq"] >= seq, 10)
        head = urllib.request.urlopen(f"http://{LOOPBACK}:{world.api.settings.ports.api}/api/batch/class-stats")
        waits.append((instant_us(head.headers["X-Braid-Generated-At"]) - started) / 1e6)
        head.close()
    assert sorted(waits)[5] < 2.0, waits


def test_both_ports_answer_and_only_on_loopback(world: World) -> None:
    ports = {world.api.settings.ports.api, world.api.settings.ports.dashboard}
    listening = {
        c.laddr for p in (world.api.process.pid, *_children(world)) for c in psutil.Process(p).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }  # fmt: skip
    assert {address.ip for address in listening} == {LOOPBACK} and {a.port for a in listening} == ports
    for port in ports:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/healthz") as answer:
            assert answer.status == 200


def test_debugging_cannot_be_switched_on_and_long_requests_are_refused(world: World) -> None:
    for path, status in (
        ("/console", 404),
        (f"/api/v1/status?{'x' * 5000}", 414),
        (f"/api/v1/status?{'x' * 9000}", 414),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            world.api.get(path)
        assert refused.value.code == status
        refused.value.close()
