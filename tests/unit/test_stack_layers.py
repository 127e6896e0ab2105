"""What `braid up` runs for some datasets: another one makes the API another program, which is then started anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer, make_server

import pytest
from flask import Flask

from braid.adapters.environment import load
from braid.errors import NotReady
from braid.settings import LOOPBACK, Settings
from stack.layers import layers
from tests.unit.serving_world import World, app_of


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return load({"BRAID_HOME": str(tmp_path / "home"), "BRAID_PORTS": "standard"})


def test_a_dataset_has_a_stream_and_a_schedule_and_the_api_is_one(here: Settings) -> None:
    assert [p.name for p in layers(here, ["a", "b"])] == ["speed-a", "speed-b", "api", "batch-a", "batch-b"]


def test_a_new_dataset_changes_the_api_and_no_other_program(here: Settings) -> None:
    # what the supervisor compares: the command and its variables (stack.conf)
    def launched(datasets: list[str]) -> dict[str, object]:
        return {p.name: (p.argv, p.environment(here)) for p in layers(here, datasets)}

    before, after = launched(["a"]), launched(["a", "b"])
    assert {name for name in before if before[name] != after[name]} == {"api"}
    assert launched(["a"]) == before


def test_streams_that_start_together_are_waited_for_longer(here: Settings) -> None:
    def waits(datasets: list[str]) -> set[float]:
        return {p.ready_timeout_s for p in layers(here, datasets) if p.name.startswith("speed-")}

    assert waits(["a"]) == {120.0}
    assert waits(["a", "b", "c", "d", "e"]) == {360.0}


@contextmanager
def answering(app: Flask) -> Iterator[WSGIServer]:
    """Let an application answer on a free port."""
    with make_server(LOOPBACK, 0, app) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ready(here: Settings, server: WSGIServer) -> None:
    """Ask what `up` asks before it says that the API answers."""
    settings = replace(here, ports=replace(here.ports, api=server.server_port))
    (api,) = (p for p in layers(settings, ["rides"]) if p.name == "api")
    assert api.ready is not None
    api.ready()


def test_up_waits_for_a_dataset_that_is_being_loaded(here: Settings) -> None:
    app = app_of(World().genesis())
    with answering(app) as server:
        with pytest.raises(NotReady, match="still loading rides"):
            ready(here, server)
        app.extensions["braid"].step()
        ready(here, server)


def test_up_does_not_wait_for_what_stands_in_a_dataset_s_way(here: Settings) -> None:
    unknown, silent = app_of(World()), World().genesis()
    silent.ledger.down = True
    for app in (unknown, app_of(silent)):
        app.extensions["braid"].step()
        with answering(app) as server:
            ready(here, server)


def test_up_says_when_something_else_answers_or_nothing(here: Settings) -> None:
    with answering(Flask("another")) as server, pytest.raises(NotReady, match="answers 404"):
        ready(here, server)
    with pytest.raises(NotReady, match="refused"):
        ready(here, server)
