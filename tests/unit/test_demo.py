"""What the demo sends of each dataset, and how it works out freshness and memory, without a stack."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from braid.adapters.environment import load
from braid.declaration_reader import load_all
from braid.ledger import LedgerRow, Range
from cli.demo import _key, _portions, _summed
from cli.measured import _committed_us, of_ages
from producer.options import parse
from producer.plan import folder_of
from producer.sources import made_field
from producer.tables import read_folder
from stack.status import memory
from tests.stack_fixture import names

ROOT = Path(__file__).resolve().parents[2]
DECLARED = load_all(ROOT / "datasets")


@pytest.fixture
def settings(tmp_path):
    return load(names(BRAID_HOME=str(tmp_path / "home")))


@pytest.mark.parametrize("name", DECLARED)
def test_the_demo_sends_every_row_before_or_after_the_cut_and_some_after_it(name, settings):
    portions = _portions(settings, DECLARED[name], 1_795_000_000.0)
    history, live = [[parse(words, "none") for words in runs] for runs in (portions.history, portions.live)]
    assert {o.topic or DECLARED[name].topics[0].name for o in history} == {t.name for t in DECLARED[name].topics}
    for topic, before, after in zip(DECLARED[name].topics, history, live, strict=True):
        data = read_folder(folder_of(ROOT / "data" / name, topic))
        if made_field(topic, data):
            assert before.limit is None and not after.resume  # another time makes another event of the same row
        else:
            assert 0.8 * len(data.rows) <= before.limit < len(data.rows)
            assert after.resume and after.limit is None
        assert before.dataset == after.dataset == name
    assert bool(portions.late) == all(not o.resume for o in live)


@pytest.mark.parametrize("name", DECLARED)
def test_the_demo_shows_a_sum_of_every_dataset(name):
    view, measure = _summed(DECLARED[name])
    assert measure in view.measures and measure.kind == "moments"
    assert _key(view, dict.fromkeys((*view.by, "window_start"), "x")) == ("x",) * (len(view.by) + bool(view.window_us))


def test_a_record_was_committed_by_the_first_row_that_ends_beyond_it():
    place = ("t", 0)
    rows = [
        LedgerRow(seq, "micro", 0, "w", Range({place: start}, {place: end}), committed_at_us=at)
        for seq, start, end, at in ((1, 5, 7, 100), (2, 7, 7, 200), (3, 7, 9, 300))
    ]
    assert [_committed_us(rows, place, offset) for offset in (5, 6, 7, 8)] == [100, 100, 300, 300]
    assert of_ages([]) is None
    assert of_ages([float(n) for n in range(1, 201)]).p99_s == 198.0


def test_memory_is_told_by_kind_of_program_of_this_home_alone(settings, tmp_path):
    code = "import sys; data = bytes(60_000_000); print('up', flush=True); sys.stdin.read()"
    running = []
    for home, program in ((settings.home, "speed-one"), (settings.home, "speed-two"), (tmp_path, "api")):
        env = os.environ | {"BRAID_HOME": str(home), "BRAID_PROGRAM": program}
        running.append(
            subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    try:
        assert all(one.stdout.readline() == b"up\n" for one in running)
        (found,) = memory(replace(settings))
        assert (found.kind, found.programs) == ("speed", 2)
        assert 5 < found.pss_mb < 400
    finally:
        for one in running:
            one.communicate()
