"""A guard taken away must make the model fail: one that does not is either not needed or not tested."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest.mock import patch

import pytest

from braid.errors import AuditFailed
from tests.model import events, guards
from tests.model.batch import first_of_each_id
from tests.model.stores import Fuse
from tests.model.test_protocol import QUIET, until
from tests.model.world import World, batch


def test_every_guard_taken_away_makes_the_model_fail(capsys: pytest.CaptureFixture[str]) -> None:
    names = range(len(guards.GUARDS))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(guards.seeds_until_wrong, names))
    with capsys.disabled():
        sys.stdout.write("\nguard taken away: seeds until the model failed\n")
        for guard, (seeds, why) in zip(guards.GUARDS, found, strict=True):
            sys.stdout.write(f"  {seeds or '-':>4}  {guard.name}: {why[:90]}\n")
    survived = [guard.name for guard, (seeds, _) in zip(guards.GUARDS, found, strict=True) if seeds is None]
    assert not survived, f"these guards can be taken away unnoticed: {survived}"


def test_the_audit_names_ids_whose_hashes_are_equal() -> None:
    """With hashes of a few bits two events are soon taken for copies; the batch layer goes by the id itself."""
    blocked = 0
    for seed in range(8):
        with patch.object(events, "mixed", lambda number: hash((number, 7)) % 64):
            world = World(seed, QUIET)
            world.oracle.look = lambda ledger: False  # type: ignore[method-assign] # it would find the speed layer wrong
            world.look = lambda driver: None  # type: ignore[method-assign]
            world.spark_commits = lambda offered: None  # type: ignore[method-assign]
            world.produce(4 if seed == 0 else 60)
            until(world, world.begin(), "idle")
            job = batch.steps(world.stores, world.oracle.log, Fuse(world.rng, -1, freezes=False))
            good = [(0, e) for rows in world.oracle.log.values() for e in rows if e is not None]
            distinct = [e for _, e in first_of_each_id(good)]
            collided = len({e.id for e in distinct}) < len(distinct)
            try:
                steps = list(job)
            except AuditFailed as error:
                blocked += 1
                assert collided, error
                assert "good: batch" in str(error) or "n: batch" in str(error)
                assert world.stores.ledger.current().gen == 0
            else:
                assert not collided, steps
    assert blocked >= 4
