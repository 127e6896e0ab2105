"""A dry run judges as the engine does: the record first, its id second, and only good ones are in the views."""

import json
from typing import Any

from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.dryrun import DryRun, Held
from tests.contracts import DECLARATION

NOW_US = 1_795_169_000_000_000
MINUTE_US = 60_000_000
TOPIC = DECLARATION.topics[0]
UNCHECKED = parse(DECLARATION.text.replace("topic: contract-rides", "topic: contract-rides\ndedupe: none"))


def ride(name: str, **more: Any) -> bytes:
    return json.dumps(
        {"ride": name, "taken_at": "2026-01-01T00:00:00Z", "city": "Bern", "vendor": "a", "fare_usd": 7} | more
    ).encode()


def run(*raws: bytes | None, declaration: Declaration = DECLARATION) -> DryRun:
    done = DryRun(declaration)
    for i, raw in enumerate(raws):
        done.take(TOPIC, f"rides:0:{i}", raw, NOW_US)
    return done


def test_records_are_good_copies_or_dead_and_nothing_else() -> None:
    done = run(ride("1"), ride("2"), ride("1", fare_usd=8), b"[]", ride("1", fare_usd="x"), ride("3", fare_usd="y"))
    assert (done.good, done.copies, done.dead, done.records) == (2, 1, 3, 6)
    assert [(r.reason, r.count, r.place) for r in done.reasons()] == [
        ("$.fare_usd: expected a decimal, got a string", 2, "rides:0:4"), ("expected one JSON object", 1, "rides:0:3"),
    ]  # fmt: skip
    assert done.reasons()[1].sample == "[]"


def test_a_dead_record_is_not_the_first_of_its_id() -> None:
    done = run(ride("1", fare_usd="x"), ride("1"))
    assert (done.good, done.copies, done.dead) == (1, 0, 1)


def test_without_dedupe_every_good_record_counts() -> None:
    done = run(ride("1"), ride("1"), declaration=UNCHECKED)
    assert (done.good, done.copies) == (2, 0)


def test_views_hold_keys_windows_and_rows_of_the_good_ones() -> None:
    raws = [ride(str(i), city=("Bern", "Basel")[i % 2], taken_at=f"2026-01-01T00:{i // 4:02d}:00Z") for i in range(12)]
    done = run(*raws, raws[0], b"{")
    assert done.held() == [Held("rides_by_minute", 2, 3, 6, 12), Held("rides_by_city", 2, 1, 2, 12)]
    assert done.held() == done.held()


def test_more_records_than_are_folded_at_once() -> None:
    done = run(*(ride(str(i)) for i in range(5_001)))
    assert [held.events for held in done.held()] == [5_001, 5_001]


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    (reason,) = run(b"\xff").reasons()
    assert (reason.reason, reason.sample) == ("not valid UTF-8", "\\xff")
    (nothing,) = run(None).reasons()
    assert (nothing.reason, nothing.sample) == ("no value", "")
