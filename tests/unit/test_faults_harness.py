"""The harness of the fault rows, by itself: its load is repeatable, its truth is a plain count, its checks can fail."""

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from braid.adapters.failpoints import NAMES
from braid.declaration_reader import load
from braid.ledger import LedgerRow, Range
from tests.services.faults import batch_rows
from tests.services.faults.__main__ import order
from tests.services.faults.checks import Checks
from tests.services.faults.events import KINDS, Events
from tests.services.faults.recorder import Answer, Failure, Sample
from tests.services.faults.rows import IN_TEST, OFTEN, ROWS, of_commit
from tests.services.faults.truth import Truth
from tests.services.pipeline import Record, good

DECLARATION = load(Path(__file__).parents[2] / "datasets" / "landcover.yaml")
TOPIC = DECLARATION.topics[0].name


def test_the_same_seed_sends_the_same_events_of_every_kind() -> None:
    one, two = (Events(DECLARATION, 5, 3) for _ in "12")
    first = [one.next(n) for n in range(500)]
    assert first == [two.next(n) for n in range(500)]
    assert {e.kind for e in first} == set(KINDS)
    third = Events(DECLARATION, 6, 3)
    assert first != [third.next(n) for n in range(500)]


def test_the_oracle_takes_each_kind_for_what_it_is_meant_to_be() -> None:
    events = Events(DECLARATION, 5, 3)
    for n in range(400):
        event = events.next(n)
        expected = event.kind not in {"malformed", "future"}
        assert (good(Record(TOPIC, 0, n, 0, event.raw), DECLARATION) is not None) is expected, event


def raw(name: str, ndvi: str, at: str = "2026-05-01T00:00:00Z") -> bytes:
    fields = f'"class_name": "red soil", "ndvi_std": 0, "ndvi_min": 0, "ndvi_max": 0, "timestamp": "{at}"'
    return f'{{"image_id": "{name}", "ndvi_mean": {ndvi}, {fields}}}'.encode()


def test_the_truth_counts_the_first_of_each_id_in_ledger_order() -> None:
    truth = Truth(DECLARATION)
    first = [
        Record(TOPIC, 1, 0, 0, raw("a", "0.3")),
        Record(TOPIC, 0, 7, 0, raw("a", "0.1")),
        Record(TOPIC, 0, 8, 0, b"{"),
    ]
    counted = truth.count(first)
    assert (counted.good, counted.copies, counted.dead) == (1, 1, 1)
    counted = truth.count([Record(TOPIC, 0, 9, 0, raw("a", "0.1")), Record(TOPIC, 0, 10, 0, raw("b", "-0.25"))])
    assert (counted.good, counted.copies) == (1, 1)
    state = truth.of("landcover_aggregates")[0, "red soil"]["ndvi"]
    assert state == (2, 100_000 - 250_000, 100_000**2 + 250_000**2, -250_000, 100_000)


def test_every_listed_failpoint_is_in_the_matrix() -> None:
    moments = {row.name: row.campaign for row in ROWS}
    covered = {f"producer.{m}" for m in moments["F1"]} | {f"batch.{place}" for place in batch_rows.STEPS}
    covered |= {f"speed.{m.split(':')[0]}" for m in (*moments["F4"], *moments["F4 alive"])}
    covered |= {f"serving.{m}" for m in (*moments["F12"], *moments["F12 loading"])} & set(NAMES)
    # a changed declaration would change what the campaign's oracle counts, and a load stops the stream: `tests/services/test_apply.py` and
    # `test_load.py` kill there
    assert covered == {name for name in NAMES if not name.startswith(("apply.", "load."))}


def test_the_docs_name_every_row_and_moment() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "faults.md").read_text("utf-8").splitlines()
    for row in ROWS:
        start = f"| {row.name} | {row.title} | {', '.join(row.campaign)} |"
        assert any(line.startswith(start) for line in lines), start


def test_a_campaign_is_repeated_by_its_seed_and_leaves_nothing_out() -> None:
    expected = Counter(
        {(row.name, moment): OFTEN if moment in row.quick else 1 for row in ROWS for moment in row.campaign}
    )
    once = [(r.name, m) for r, m in order(4)[: expected.total()]]
    assert once == [(r.name, m) for r, m in order(4)[: expected.total()]]
    assert Counter(once) == expected
    assert once != [(r.name, m) for r, m in order(5)[: expected.total()]]
    assert {row.name for row, _ in order(4, "F4,F7")} == {"F4", "F7"}
    quick = [pair for pair in once if expected[pair] == OFTEN]
    last = max(i for i, pair in enumerate(once) if pair == quick[-1])
    assert last < 1.4 * len(quick), "a third of the others at most comes before the last quick one"


def test_the_commits_take_every_moment_in_turn_and_each_commit_every_row_but_those_that_alternate() -> None:
    chosen = [row for row in ROWS if row.name in IN_TEST]
    taken = [of_commit(seed) for seed in range(1000)]
    found = {(row.name, moment) for pairs in taken for row, moment in pairs}
    assert found == {(row.name, moment) for row in chosen for moment in row.moments}
    always = {row.name for row in chosen if not row.turn}
    assert all(always <= {row.name for row, _ in pairs} for pairs in taken)
    assert {len(pairs) for pairs in taken} == {len(always) + len({row.turn for row in chosen if row.turn})}


# ---- the checks can fail -------------------------------------------------------------------------------------------

GENESIS = LedgerRow(0, "genesis", 0, "w", Range({(TOPIC, 0): 0}, {(TOPIC, 0): 0}), topic_ids={TOPIC: "id"})
ROW = LedgerRow(1, "micro", 1, "w", Range({(TOPIC, 0): 0}, {(TOPIC, 0): 3}), good=1, copies=1, dead=1, topic_ids={TOPIC: "id"})  # fmt: skip
RECORDS = [
    Record(TOPIC, 0, 0, 0, raw("a", "0.1")),
    Record(TOPIC, 0, 1, 0, raw("a", "0.1")),
    Record(TOPIC, 0, 2, 0, b"{"),
]


class Ledger:
    def __init__(self, *rows: LedgerRow) -> None:
        self._rows = (GENESIS, *rows)

    def rows(self, after: int, through: int) -> list[LedgerRow]:
        return [row for row in self._rows if after < row.seq <= through]

    def head(self) -> LedgerRow:
        return self._rows[-1]


def checks(*rows: LedgerRow) -> Checks:
    """Return checks over a ledger and the three records."""
    campaign = SimpleNamespace(declaration=DECLARATION, stores=SimpleNamespace(ledger=Ledger(*rows)))
    made = Checks(campaign)  # type: ignore[arg-type]
    made.records = {("id", r.partition, r.offset): r for r in RECORDS}
    return made


def answer(seq: int, states: dict, view: str = "landcover_aggregates", **more: object) -> Answer:
    return Answer(
        **(
            {"at_s": 0.0, "view": view, "seq": seq, "generation": 0, "complete": True, "missing": (), "states": states}
            | more
        )
    )  # type: ignore[arg-type]


RIGHT = {(0, "red soil"): {"ndvi": (1, 100_000, 100_000**2, 100_000, 100_000)}}
TWICE = {(0, "red soil"): {"ndvi": (2, 200_000, 2 * 100_000**2, 100_000, 100_000)}}


def followed(rows: tuple[LedgerRow, ...], *answers: Answer) -> list[str]:
    wrong: list[str] = []
    checks(*rows)._follow(list(answers), wrong)
    return wrong


def test_right_answers_pass() -> None:
    assert followed((ROW,), answer(0, {}), answer(1, RIGHT)) == []


@pytest.mark.parametrize(
    ("rows", "given", "word"),
    [
        ((ROW,), answer(1, TWICE), "C5: landcover_aggregates as of seq 1"),
        ((ROW,), answer(1, {}), "C5: "),
        ((ROW,), answer(0, RIGHT), "C5: landcover_aggregates as of seq 0"),
        ((ROW,), answer(2, RIGHT), "C5: an answer as of seq 2, beyond head"),
        (
            (LedgerRow(1, "micro", 1, "w", ROW.range, good=2, dead=1, topic_ids={TOPIC: "id"}),),
            answer(1, RIGHT),
            "C3: seq 1",
        ),
        (
            (
                LedgerRow(
                    1, "micro", 1, "w", Range({(TOPIC, 0): 1}, {(TOPIC, 0): 3}), good=1, dead=1, topic_ids={TOPIC: "id"}
                ),
            ),
            answer(1, RIGHT),
            "C4: seq 1 starts at",
        ),
    ],
)
def test_a_planted_difference_is_found(rows: tuple[LedgerRow, ...], given: Answer, word: str) -> None:
    assert any(one.startswith(word) for one in followed(rows, given)), followed(rows, given)


def test_an_answer_that_goes_back_a_silent_gap_and_an_unexplained_refusal_are_found() -> None:
    made = checks(ROW)
    assert made._order([answer(3, {}), answer(2, {})]) == ["C9: an answer as of seq 2 after one as of seq 3"]
    assert made._flags([answer(1, {}, complete=False)], [], "") == ["C10: as of seq 1: incomplete without a reason"]
    assert made._flags([], [Failure(0.0, 503, "gone"), Failure(0.0, 0, "cut")], "cut") == ["C10: HTTP 503: gone"]


def test_a_sample_is_drawn_from_the_whole_run() -> None:
    sample = Sample(100, random.Random(3))
    for n in range(10_000):
        sample.add(str(n))
        assert len(sample.held) == min(n + 1, 100)
    quarters = Counter(int(one) // 2500 for one in sample.held)
    assert len(set(sample.held)) == 100 and set(quarters) == {0, 1, 2, 3} and min(quarters.values()) > 10
