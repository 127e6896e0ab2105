"""The producer as its users run it: the plain script, from any directory, against a real broker."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from braid.adapters.kafka import KafkaLog
from braid.declaration_reader import load
from braid.records import Event, parse
from braid.settings import Settings
from producer.options import DEFAULT_EVERY_US, DEFAULT_START_US
from producer.sources import Outgoing, Timeline, events
from producer.tables import read_folder
from tests.stack_fixture import names

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src" / "producer" / "kafka_producer.py"
DATA = ROOT / "data" / "landcover"
TOPIC = load(ROOT / "datasets" / "landcover.yaml").topics[0]
Message = tuple[bytes, bytes]


class Shell:
    """Runs the script in a fresh folder with a BRAID_HOME of its own."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.topic = f"test-{uuid.uuid4().hex}"
        self.bootstrap = bootstrap

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), *words, "--topic", self.topic, "--bootstrap", self.bootstrap]
        env = names(BRAID_HOME=str(self.home), **more) | {"TZ": "Pacific/Chatham"}
        env.pop("PYTHONPATH", None)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def summary(self, *words: str) -> dict[str, Any]:
        status, out, err = self.run(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    @property
    def journal(self) -> dict[str, Any]:
        return json.loads((self.home / "producer" / f"landcover.{self.topic}.json").read_text())

    def log(self) -> list[Message]:
        """Return every record of the topic, partition by partition."""
        with KafkaLog(self.bootstrap) as log:
            ends = log.latest([self.topic])
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", group_id=None)
        try:
            consumer.assign([TopicPartition(*place) for place in ends])
            found: list[Message] = []
            until = time.monotonic() + 60
            while len(found) < sum(ends.values()):
                assert time.monotonic() < until, f"{len(found)} of {sum(ends.values())} records read in 60 s"
                found += [(r.key, r.value) for batch in consumer.poll(500).values() for r in batch]
            return found
        finally:
            consumer.close()


@pytest.fixture
def shell(stack: Settings, tmp_path: Path) -> Iterator[Shell]:
    yield Shell(tmp_path, stack.kafka_bootstrap)


def expected(end: int, first: int = 0, timeline: Timeline | None = None) -> list[Outgoing]:
    timeline = timeline or Timeline(DEFAULT_START_US, DEFAULT_EVERY_US)
    return list(events(TOPIC, read_folder(DATA), timeline, first=first, end=end))


def messages(sent: list[Outgoing]) -> Counter[Message]:
    return Counter((event.key, event.value) for event in sent)


def eventually(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "not within 60 s"
        time.sleep(0.02)


def test_without_flags_500_events_arrive_each_once(shell: Shell) -> None:
    status, out, err = shell.run()
    assert status == 0, err
    assert out.startswith(
        f"landcover: 500 sent to {shell.topic} at {shell.bootstrap}, 500 acknowledged, 0 refused, done in "
    )
    assert "acknowledged 500" in err
    log = shell.log()
    assert Counter(log) == messages(expected(500))
    assert all(isinstance(parse(TOPIC, value, DEFAULT_START_US + 10**12), Event) for _, value in log)


def test_the_same_arguments_send_the_same_ids(shell: Shell) -> None:
    words = ("--limit", "300", "--delay", "0", "--start", "2026-03-29T00:30:00+01:00", "--every", "1500ms")
    first, again = shell.summary(*words), shell.summary(*words)
    assert (first["sent"], again["sent"]) == (300, 300)
    sent = messages(expected(300, timeline=Timeline(1_774_740_600_000_000, 1_500_000)))
    assert Counter(shell.log()) == Counter(dict.fromkeys(sent, 2))


def test_resume_adds_nothing_and_then_goes_on(shell: Shell) -> None:
    shell.summary("--limit", "100", "--delay", "0", "--start", "now-6h", "--every", "1s")
    nothing = shell.summary("--limit", "100", "--delay", "0", "--resume")
    assert (nothing["sent"], nothing["ended"]) == (0, "nothing left")
    more = shell.summary("--limit", "250", "--delay", "0", "--resume")
    assert (more["sent"], more["position"]) == (150, 250)
    timeline = Timeline(shell.journal["start_us"], 1_000_000)
    assert Counter(shell.log()) == messages(expected(250, timeline=timeline))


def test_killed_and_resumed_it_leaves_nothing_out(shell: Shell) -> None:
    process = shell.start("--limit", "all", "--rate", "1500", "--quiet")
    with process:
        eventually(
            lambda: (shell.home / "producer" / f"landcover.{shell.topic}.json").exists() and shell.journal["position"]
        )
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    position = shell.journal["position"]
    assert 0 < position < 6435
    assert shell.summary("--limit", "all", "--delay", "0", "--resume")["sent"] == 6435 - position
    arrived = Counter(shell.log())
    assert set(arrived) == set(messages(expected(6435)))
    copies = [key for key, n in arrived.items() if n > 1]
    assert all(n <= 2 for n in arrived.values())
    assert {json.loads(value)["image_id"] for _, value in copies} <= {f"sat-{p + 1:05d}" for p in range(position, 6435)}


def test_a_new_run_that_dies_before_anything_is_acknowledged_is_the_one_that_is_resumed(shell: Shell) -> None:
    one, two = ("--start", "2026-01-01T00:00:00Z"), ("--start", "2026-02-01T00:00:00Z")
    shell.summary("--limit", "50", "--delay", "0", *one)
    before = shell.journal["start_us"]
    environ = {"BRAID_FAILPOINT": "producer.before_send:kill9"}
    with shell.start("--limit", "80", *two, **environ) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert (shell.journal["position"], shell.journal["start_us"] > before) == (0, True)
    assert shell.summary("--limit", "80", "--delay", "0", "--resume", *two)["sent"] == 80
    later = Timeline(shell.journal["start_us"], DEFAULT_EVERY_US)
    assert Counter(shell.log()) == messages(expected(50)) + messages(expected(80, timeline=later))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_settles_and_says_so(shell: Shell, number: signal.Signals, status: int) -> None:
    process = shell.start("--loop", "--rate", "300", "--json")
    assert process.stderr is not None
    assert "sent" in process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    summary = json.loads(out)
    assert (process.returncode, summary["ended"]) == (status, "interrupted")
    assert "Traceback" not in err
    assert summary["sent"] == summary["acknowledged"] == summary["position"] == shell.journal["position"] > 0
    assert Counter(shell.log()) == messages(expected(summary["sent"]))


def test_loop_passes_have_ids_of_their_own(shell: Shell) -> None:
    summary = shell.summary("--loop", "--limit", "7000", "--delay", "0", "--every", "1ms")
    assert (summary["sent"], summary["last_time"]) == (7000, "2026-01-01T00:00:06.999000Z")
    log = shell.log()
    assert len({key for key, _ in log}) == 7000
    assert json.loads(expected(6436)[6435].value)["image_id"] == "sat-00001"


def test_started_now_events_carry_the_time_at_which_they_are_sent(shell: Shell) -> None:
    before = time.time_ns() // 1000
    summary = shell.summary("--start", "now", "--rate", "200", "--duration", "1s", "--loop")
    after = time.time_ns() // 1000
    assert summary["every"] == "5ms"
    assert 100 < summary["sent"] <= 201
    sent = expected(summary["sent"], timeline=Timeline(shell.journal["start_us"], 5_000))
    assert before <= sent[0].event_us <= sent[-1].event_us <= after
    assert Counter(shell.log()) == messages(sent)


def test_no_event_is_sent_before_its_own_time(shell: Shell) -> None:
    status, out, err = shell.run("--start", "now", "--every", "1h", "--duration", "1500ms", "--json")
    assert status == 0
    assert json.loads(out)["sent"] == 1
    assert "the next row waits for its time" in err


def test_bad_rows_are_named_and_the_run_goes_on(shell: Shell) -> None:
    folder = shell.folder / "data"
    folder.mkdir()
    for path in DATA.glob("*.csv"):
        lines = path.read_text().splitlines()[:12]
        if path.name == "ndvi_stats.csv":
            lines[3] = "sat-00003,1.5,0.010280,0.000000,0.030769"
            lines[5] = "sat-00005,0.1,0.1"
        (folder / path.name).write_bytes("\r\n".join(["\ufeff" + lines[0], *lines[1:]]).encode())
    status, out, err = shell.run("--data", str(folder), "--delay", "0", "--json")
    refused = [line for line in err.splitlines() if line.startswith("refused: ")]
    assert refused == [
        "refused: ndvi_stats.csv line 6: expected 5 values as in the header, got 3",
        "refused: ndvi_stats.csv line 4, column ndvi_mean: expected a decimal in [-1, 1]; the file has '1.5'",
        "refused: images.csv line 6, column image_id: 'sat-00005' has no line in ndvi_stats.csv",
    ]
    summary = json.loads(out)
    assert status == 0
    assert (summary["sent"], summary["refused"], summary["ignored"], summary["position"]) == (9, 2, 1, 11)
    wanted = [event for event in expected(11) if event.position not in {2, 4}]
    assert Counter(shell.log()) == messages(wanted)


def test_a_second_producer_at_once_sends_and_leaves_the_journal_alone(shell: Shell) -> None:
    with shell.start("--loop", "--rate", "100", "--quiet") as first:
        eventually((shell.home / "producer" / f"landcover.{shell.topic}.json").exists)
        summary = shell.summary("--limit", "50", "--delay", "0")
        assert (summary["sent"], summary["journal"]) == (50, None)
        status, _, err = shell.run("--resume")
        assert (status, "is kept by another run; wait until it ends" in err) == (2, True)
        first.terminate()
        first.communicate(timeout=60)


def test_no_broker_is_one_line_and_status_1(shell: Shell) -> None:
    shell.bootstrap = "127.0.0.1:1"
    status, out, err = shell.run()
    assert (status, out) == (1, "")
    assert err == (
        "braid produce: Kafka at 127.0.0.1:1: expected a broker there, got [Errno 111] Connection refused; "
        "start it with `braid up`\n"
    )


def test_readers_that_go_away_do_not_end_the_run(shell: Shell) -> None:
    with shell.start("--limit", "300", "--rate", "200") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "sent" in process.stderr.readline()
        process.stderr.close()
        process.stdout.close()
        assert process.wait(60) == 0
    assert Counter(shell.log()) == messages(expected(300))
