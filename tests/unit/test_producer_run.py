"""A run without a broker: when events leave, what counts as acknowledged, what the journal says, what the flags mean."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from braid.errors import StoreUnavailable, UsageError
from producer import publish
from producer.feeds import Rows
from producer.journal import Entry, Journal
from producer.kafka_producer import main
from producer.options import DEFAULT_EVERY_US, DEFAULT_START_US, Options, duration_text, duration_us, parse, start_us
from producer.pacing import Pace
from producer.plan import Plan, declared, resumed
from producer.publish import Outbox, Progress, Run
from producer.report import Report, progress_text, summary_text
from producer.sources import Outgoing, Template, Timeline
from producer.tables import Joined

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_800_000_000_000_000
SECOND = 1_000_000
TEMPLATE = Template((b"k", b""), (b"v", b""), {}, "timestamp")


class Hand:
    """A watch moved by hand: waiting moves it, and nothing else."""

    def __init__(self) -> None:
        self.us = 0
        self.waits: list[int] = []
        self.after: Callable[[], None] = lambda: None

    def now_us(self) -> int:
        return NOW + self.us

    def elapsed_us(self) -> int:
        return self.us

    def wait_us(self, us: int) -> None:
        assert us > 0
        self.us += us
        self.waits.append(us)
        self.after()


@dataclass
class Answer:
    is_done: bool = False
    exception: BaseException | None = None


@dataclass
class Broker:
    """Takes events and answers when told to; records when each came."""

    watch: Hand
    at_once: bool = True
    came: list[tuple[int, bytes]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def send(self, topic: str, key: bytes, value: bytes) -> Answer:
        self.came.append((self.watch.us, value))
        self.answers.append(Answer(self.at_once))
        return self.answers[-1]


@dataclass
class Bench:
    """One run with a hand-moved watch."""

    interval_ns: int = 0
    duration_us: int | None = None
    at_once: bool = True
    first: int = 0
    stop: bool = False

    def __post_init__(self) -> None:
        self.watch = Hand()
        self.broker = Broker(self.watch, self.at_once)
        self.progress = Progress(position=self.first)
        self.outbox = Outbox(self.broker, "t", self.progress)
        self.ticks: list[int] = []
        self.run = Run(
            self.outbox,
            pace=Pace(self.interval_ns, self.duration_us, self.watch),
            watch=self.watch,
            progress=self.progress,
            stopping=lambda: self.stop,
            tick=lambda: self.ticks.append(self.watch.us),
        )

    def times(self) -> list[int]:
        return [us for us, _ in self.broker.came]


def outgoing(count: int, start_us: int = 0, every_us: int = 1, first: int = 0) -> list[Outgoing]:
    return [TEMPLATE.outgoing(p, start_us + p * every_us) for p in range(first, first + count)]


# ---- when -------------------------------------------------------------------------------------------------------------


def test_events_leave_on_a_schedule_and_a_slow_moment_is_caught_up() -> None:
    bench = Bench(interval_ns=10_000_000)
    events = outgoing(10)

    def slow() -> list[Outgoing]:
        for event in events:
            if event.position == 3:
                bench.watch.us += 35_000  # something took 35 ms
            yield event

    assert bench.run.publish(slow())
    assert bench.times() == [0, 10_000, 20_000, 55_000, 55_000, 55_000, 60_000, 70_000, 80_000, 90_000]


def test_a_high_rate_holds_though_waits_are_bundled() -> None:
    bench = Bench(interval_ns=1_000_000_000 // 30_000)
    assert bench.run.publish(iter(outgoing(30_001)))
    assert 999_000 <= bench.times()[-1] <= 1_003_000
    assert min(bench.watch.waits) >= 2_000


def test_no_event_leaves_before_its_own_time() -> None:
    bench = Bench()
    assert bench.run.publish(iter(outgoing(4, start_us=NOW - SECOND, every_us=SECOND)))
    assert [us // 10_000 for us in bench.times()] == [0, 0, 100, 200]
    assert all(NOW + us >= NOW - SECOND + p * SECOND for p, us in enumerate(bench.times()))


def test_an_interrupt_is_heard_while_an_event_waits_for_its_time() -> None:
    bench = Bench()
    bench.watch.after = lambda: setattr(bench, "stop", bench.watch.us > 300_000)
    assert not bench.run.publish(iter(outgoing(1, start_us=NOW + 3600 * SECOND)))
    assert (bench.broker.came, bench.watch.us <= 400_000) == ([], True)


def test_the_duration_ends_the_run() -> None:
    bench = Bench(interval_ns=100_000_000, duration_us=SECOND)
    assert not bench.run.publish(iter(outgoing(1000)))
    assert bench.times() == [i * 100_000 for i in range(10)]


def test_a_run_ticks_once_a_second() -> None:
    bench = Bench(interval_ns=10_000_000)
    bench.run.publish(iter(outgoing(1001)))
    assert len(bench.ticks) in {9, 10}
    assert all(later - earlier >= SECOND for earlier, later in zip(bench.ticks, bench.ticks[1:], strict=False))


# ---- acknowledged -----------------------------------------------------------------------------------------------------


def test_the_position_never_passes_an_event_that_is_not_acknowledged() -> None:
    bench = Bench(at_once=False, first=40)
    bench.run.publish(iter(outgoing(5, first=40)))
    for answered in ([1, 2], [0], [4]):
        for i in answered:
            bench.broker.answers[i].is_done = True
        bench.outbox.settle()
    assert (bench.progress.position, bench.progress.acknowledged, len(bench.outbox)) == (43, 3, 2)


def test_what_is_not_acknowledged_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_UNACKNOWLEDGED", 100)
    bench = Bench(at_once=False)
    most = 0

    def answer() -> None:
        nonlocal most
        most = max(most, len(bench.outbox))
        for waiting in bench.broker.answers[:-30]:
            waiting.is_done = True

    bench.watch.after = answer
    assert bench.run.publish(iter(outgoing(1000)))
    assert (most, len(bench.broker.came)) == (100, 1000)


def test_a_stalled_broker_does_not_keep_an_interrupt_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_UNACKNOWLEDGED", 10)
    bench = Bench(at_once=False)
    bench.watch.after = lambda: setattr(bench, "stop", bench.watch.us > 6 * SECOND)
    assert not bench.run.publish(iter(outgoing(1000)))
    assert (len(bench.broker.came), bench.progress.stalled) == (10, True)
    assert not bench.run.drain(SECOND)
    assert bench.watch.us < 8 * SECOND


def test_an_event_that_is_refused_ends_the_run_by_name() -> None:
    bench = Bench(at_once=False)
    bench.run.publish(iter(outgoing(3)))
    bench.broker.answers[0].is_done = True
    bench.broker.answers[1].is_done = True
    bench.broker.answers[1].exception = TimeoutError("no answer in 120 s")
    with pytest.raises(StoreUnavailable) as raised:
        bench.run.drain(SECOND)
    assert str(raised.value) == (
        "t: row 2 was not acknowledged: no answer in 120 s; everything before it was; go on with --resume"
    )
    assert bench.progress.position == 1


# ---- journal ----------------------------------------------------------------------------------------------------------

ENTRY = Entry("landcover", "t", "digest", 5, 7, 42)


def test_the_journal_holds_what_was_written_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "producer", "landcover", "t")
    assert journal.read() is None
    journal.write(ENTRY)
    journal.close()
    again = Journal(tmp_path / "producer", "landcover", "t")
    assert (again.held, again.read()) == (True, ENTRY)
    again.close()


def test_of_two_runs_at_once_the_first_keeps_the_journal(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, "landcover", "t"), Journal(tmp_path, "landcover", "t")
    other = Journal(tmp_path, "landcover", "u")
    first.write(ENTRY)
    second.write(Entry("landcover", "t", "digest", 5, 7, 1))
    assert (first.held, second.held, other.held) == (True, False, True)
    assert second.read() == ENTRY
    for journal in (first, second, other):
        journal.close()
    third = Journal(tmp_path, "landcover", "t")
    assert third.held
    third.close()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"dataset": "landcover"}', "\ufeff"])
def test_a_damaged_journal_is_named(tmp_path: Path, text: str) -> None:
    journal = Journal(tmp_path, "landcover", "t")
    journal.path.write_text(text)
    with pytest.raises(
        UsageError, match=r"landcover\.t\.json: expected a journal, got .*; remove the file to begin anew"
    ):
        journal.read()
    journal.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"expected a writable folder for the journal, got .*; set BRAID_HOME"):
        Journal(tmp_path / "file" / "producer", "landcover", "t")


# ---- flags ------------------------------------------------------------------------------------------------------------


def options(*words: str) -> Options:
    return parse(list(words), "landcover")


def test_the_defaults() -> None:
    found = options()
    assert (found.dataset, found.limit, found.interval_ns, found.end(6435)) == ("landcover", 500, 5_000_000, 500)
    assert found.timeline(NOW) == Timeline(DEFAULT_START_US, DEFAULT_EVERY_US)


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("--limit", "7000"), 6435),
        (("--limit", "7000", "--loop"), 7000),
        (("--limit", "all"), 6435),
        (("--limit", "all", "--loop"), None),
        (("--loop",), None),
        (("--duration", "5m"), 6435),
        (("--duration", "5m", "--limit", "20"), 20),
        (("--loop", "--limit", "20"), 20),
    ],
)
def test_where_a_run_ends(words: tuple[str, ...], end: int | None) -> None:
    assert options(*words).end(6435) == end


@pytest.mark.parametrize(
    ("words", "start", "every"),
    [
        (("--start", "now"), NOW, 5_000),
        (("--start", "now", "--rate", "300"), NOW, 3_333),
        (("--start", "now", "--delay", "0", "--every", "1us"), NOW, 1),
        (("--start", "now-6h"), NOW - 6 * 3600 * SECOND, 10 * SECOND),
        (("--start", "2026-01-01T00:00:00Z", "--every", "1.5m"), DEFAULT_START_US, 90 * SECOND),
        (("--start", "2026-01-01T05:45:00+05:45"), DEFAULT_START_US, 10 * SECOND),
    ],
)
def test_event_times_by_flags(words: tuple[str, ...], start: int, every: int) -> None:
    assert options(*words).timeline(NOW) == Timeline(start, every)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start", "yesterday"), "--start: expected 2026-01-01T00:00:00Z, now or now-6h, got 'yesterday'"),
        (("--start", "2026-01-01T00:00:00"), "--start: expected 2026-01-01T00:00:00Z, now or now-6h, got '2026-01-01T00:00:00'"),
        (("--start", "now-"), "--start: expected 2026-01-01T00:00:00Z, now or now-6h, got 'now-'"),
        (("--start", "1969-12-31T23:59:59Z"), "--start: expected a time from 1970 on, got '1969-12-31T23:59:59Z'"),
        (("--start", "2100-01-01T00:00:00Z"), "--start: expected a time not later than now (2027-01-15T08:00:00Z), got "
         "2100-01-01T00:00:00Z; choose an earlier one, or set this machine's clock right"),
        (("--every", "0"), "--every: expected at least 1us, got 0; with --start now give --every, --delay or --rate"),
        (("--start", "now", "--delay", "0"), "--every: expected at least 1us, got 0; with --start now give --every, --delay or --rate"),
    ],
)  # fmt: skip
def test_event_times_that_make_no_sense_are_named(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        options(*words).timeline(NOW)
    assert str(raised.value) == said


def test_a_clock_before_the_default_start_is_named() -> None:
    with pytest.raises(UsageError, match="set this machine's clock right"):
        options().timeline(DEFAULT_START_US - 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--limit", "0"), ("--limit", "-1"), ("--limit", "1.5"), ("--limit", ""), ("--limit", "１"), ("--delay", "-1"),
        ("--delay", "1e-3"), ("--rate", "0"), ("--rate", "nan"), ("--rate", "1", "--delay", "1"), ("--duration", "soon"),
        ("--every", "1 hour"), ("--unknown",),
    ],
)  # fmt: skip
def test_words_that_are_no_flag_values_end_with_status_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        options(*words)
    assert raised.value.code == 2
    assert "usage: braid produce" in capsys.readouterr().err


def test_durations_are_read_back_as_written() -> None:
    for us in (1, 999, 1_000, 5_000, 10 * SECOND, 90 * SECOND, 3600 * SECOND, 86_400 * SECOND, 123_456_789):
        assert duration_us(duration_text(us)) == us


def test_start_of_now_is_now() -> None:
    assert (start_us("now", NOW), start_us("now-250ms", NOW)) == (NOW, NOW - 250_000)


# ---- resuming ---------------------------------------------------------------------------------------------------------


def test_resume_takes_times_and_position_from_the_journal() -> None:
    assert resumed(ENTRY, options("--resume"), "digest", Path("j")) == (Timeline(5, 7), 42)
    assert resumed(ENTRY, options("--resume", "--start", "now-6h"), "digest", Path("j")) == (Timeline(5, 7), 42)


@pytest.mark.parametrize(
    ("words", "digest", "said"),
    [
        ((), "other", "--resume: j was written for other data; name that with --data, or leave --resume out"),
        (("--every", "10s"), "digest", "--resume: expected --every 7us as in j, got 10s; leave it out"),
        (("--start", "2026-01-01T00:00:00Z"), "digest",
         "--resume: expected --start 1970-01-01T00:00:00.000005Z as in j, got 2026-01-01T00:00:00Z; leave it out"),
    ],
)  # fmt: skip
def test_resume_refuses_what_would_make_other_ids(words: tuple[str, ...], digest: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        resumed(ENTRY, options("--resume", *words), digest, Path("j"))
    assert str(raised.value) == said


# ---- words ------------------------------------------------------------------------------------------------------------


def test_the_progress_line_says_what_is_unusual() -> None:
    progress = Progress(position=0, sent=12_000, acknowledged=11_950)
    assert progress_text(progress, 199.6, 50) == "sent 12,000 · 200/s · acknowledged 11,950"
    progress.refused = {"a": 2, "b": 1}
    progress.stalled = True
    progress.waits_until_us = DEFAULT_START_US
    assert progress_text(progress, 0, 50) == (
        "sent 12,000 · 0/s · acknowledged 11,950 · refused 3 · 50 unanswered: is Kafka up? · "
        "the next row waits for its time, 2026-01-01T00:00:00Z (a shorter --every or a --rate sends faster)"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_progress_line_is_rewritten_in_place() -> None:
    terminal = Terminal()
    report = Report(terminal, quiet=False)
    report.progress(Progress(position=1, sent=1), 1)
    report.progress(Progress(position=2, sent=2), 0)
    report.end()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r\x1b[K") == 1


def test_the_summary_as_json_is_one_object() -> None:
    assert json.loads(summary_text({"sent": 3}, as_json=True)) == {"sent": 3}


@pytest.mark.parametrize(("every_us", "said"), [(0, "event times are the rows' own"), (5, "event times 1970")])
def test_rows_that_hold_their_time_have_no_times_of_the_run(every_us: int, said: str, tmp_path: Path) -> None:
    timeline = Timeline(0, every_us)
    found = Plan("d", declared(ROOT / "datasets", "landcover").topics[0], "t", Joined((), {}), "x", timeline, 0, 1)
    with Journal(tmp_path, "d", "t") as journal:
        facts = {"first_time": "1970", "last_time": "1971"} | Rows(found, journal).facts()
    counts = dict.fromkeys(("sent", "acknowledged", "refused", "rate_per_s", "seconds", "position"), 1)
    text = summary_text(
        {**counts, "dataset": "d", "topic": "t", "bootstrap": "b", "ended": "done", **facts}, as_json=False
    )
    assert text.splitlines()[1].startswith(said)


def test_an_unknown_dataset_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"expected one of the datasets .*landcover.*, got 'landcoverr'"):
        declared(ROOT / "datasets", "landcoverr")
    assert main(["landcoverr"]) == 2
    assert capsys.readouterr().err.startswith("braid produce: ")


def test_a_loop_that_would_send_the_same_ids_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "data" / "trips").mkdir(parents=True)
    (tmp_path / "data" / "trips" / "trips.csv").write_text("trip,at,fare\na,2022-01-01T00:00:00Z,2.50\n")
    (tmp_path / "datasets" / "trips.yaml").write_text(
        "dataset: trips\ntopic: trips\nevent_id: [trip]\nevent_time: {field: at, zone: UTC}\n"
        "fields: {trip: {type: string}, at: {type: time}, fare: {type: decimal, scale: 2}}\n"
        "views: {fares: {by: [trip], window: all, measures: {fare: {of: fare, stats: [mean]}}}}\n"
    )
    monkeypatch.setenv("BRAID_ROOT", str(tmp_path))
    monkeypatch.setenv("BRAID_HOME", str(tmp_path / "home"))
    assert main(["trips", "--loop"]) == 2
    assert capsys.readouterr().err == (
        "braid produce: --loop: expected ids that change with every pass, got rows whose files hold the whole id\n"
    )
    assert main(["trips", "--bootstrap", "127.0.0.1:1"]) == 1  # without --loop it gets as far as the broker


def test_only_the_script_of_landcover_names_it() -> None:
    naming = [p.name for p in (ROOT / "src" / "producer").glob("*.py") if "landcover" in p.read_text(encoding="utf-8")]
    assert naming == ["kafka_producer.py"]
