"""Many seeds over all cores: each process plays its share and hands back what happened, or the first wrong answer."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.model.oracle import Wrong
from tests.model.world import Profile, run

SHARE = 25  # seeds handed out at once


def play(seeds: range, profile: Profile) -> tuple[Counter[str], list[str]]:
    """Play some seeds; return what was told, and the text of every wrong one."""
    told: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        try:
            told += run(seed, profile)
        except Wrong as found:
            wrong.append(str(found))
    return told, wrong


def play_all(first: int, count: int, profile: Profile) -> tuple[Counter[str], list[str]]:
    """Play `count` seeds from `first` on, over all cores."""
    shares = [range(at, min(at + SHARE, first + count)) for at in range(first, first + count, SHARE)]
    told: Counter[str] = Counter()
    wrong: list[str] = []
    # spawned, not forked: Arrow's threads do not survive a fork
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for some, bad in pool.map(play, shares, [profile] * len(shares)):
            told += some
            wrong += bad
    return told, wrong
