"""A ring is heard at once, by one listener, and nobody ever waits to ring."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from braid.adapters.doorbell import Doorbell, ring

LONG_S = 30.0  # in which a ring that is not heard would be missed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "doorbell" / "rides"


@pytest.fixture
def bell(path: Path) -> Iterator[Doorbell]:
    found = Doorbell(path)
    yield found
    found.close()


def test_a_ring_ends_the_wait_of_a_listener_who_waits_already(bell: Doorbell, path: Path) -> None:
    heard: list[bool] = []
    listener = threading.Thread(target=lambda: heard.append(bell.wait(LONG_S)))
    listener.start()
    ring(path)
    listener.join(LONG_S / 2)
    assert heard == [True]


def test_a_ring_is_kept_for_the_next_wait_and_many_are_one(bell: Doorbell, path: Path) -> None:
    assert not bell.wait(0.0)
    for _ in range(3):
        ring(path)
    assert bell.wait(LONG_S)
    assert not bell.wait(0.0)


def test_nobody_need_listen_and_a_pipe_that_is_full_of_rings_stops_nobody(path: Path) -> None:
    ring(path)
    bell = Doorbell(path)
    assert not bell.wait(0.0)  # what was rung before anybody listened is not heard later
    for _ in range(70_000):
        ring(path)
    assert bell.wait(0.0)
    bell.close()
    ring(path)


def test_the_newest_listener_hears_and_a_pipe_that_was_left_behind_is_replaced(bell: Doorbell, path: Path) -> None:
    path.with_suffix(".1").write_text("left behind")
    newer = Doorbell(path)
    ring(path)
    assert newer.wait(LONG_S) and not bell.wait(0.0)
    newer.close()
    assert stat.S_ISFIFO(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_ordinary_file_in_its_place_is_replaced_too(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a pipe")
    bell = Doorbell(path)
    ring(path)
    assert bell.wait(LONG_S) and not bell.wait(0.0)
    bell.close()
