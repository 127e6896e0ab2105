"""Batches of one machine take turns."""

import queue
import threading
from pathlib import Path

import pytest

from batch_layer import spark_batch
from batch_layer.spark_batch import alone, turn


def test_a_batch_waits_until_another_dataset_s_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, order, inside, leave = tmp_path / "turn", list[str](), threading.Event(), threading.Event()
    # not by capsys: what one thread writes while another reads it out is lost between the reading and the emptying
    said = queue.Queue[str]()
    monkeypatch.setattr(spark_batch, "_say", said.put)

    def first() -> None:
        with alone(tmp_path / "a", "a"), turn(path, "a"):
            inside.set()
            leave.wait(30)
            order.append("a")

    def second() -> None:
        with alone(tmp_path / "b", "b"), turn(path, "b"):
            order.append("b")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    assert "waits for its turn" in said.get(timeout=10)
    assert not order
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["a", "b"]


def test_a_batch_that_hangs_does_not_keep_the_others_waiting_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with turn(tmp_path / "turn", "hung"), turn(tmp_path / "turn", "next", patience_s=0.3):
        assert "not waiting any longer" in capsys.readouterr().err
