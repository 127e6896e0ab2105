"""A dataset's own generator: run as a child, held to the dataset's rules, at the rate that was asked for."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter, deque
from itertools import islice
from pathlib import Path

import build_reddit
import pytest

from braid.adapters import environment
from braid.declaration_reader import load, parse
from braid.errors import DeclarationError, UsageError
from braid.records import Event
from braid.records import parse as read
from producer import feeds, generator
from producer.made import Made
from producer.options import parse as flags
from producer.pacing import Pace
from producer.publish import Outbox, Progress, Run
from producer.report import Report, summary_text
from producer.sources import Timeline
from producer.tables import Refusal
from tests.unit.test_producer_run import Broker, Hand

ROOT = Path(__file__).parents[2]
FORUM = load(ROOT / "datasets/reddit.yaml")
NOW = 1_795_169_000_000_000  # 2026-11-20T10:03:20Z
TIMES = Timeline(NOW, 10_000)
TOPICS = {topic.name: (topic, topic.name) for topic in FORUM.topics}
KEYS = {"reddit.posts": "post_id", "reddit.comments": "comment_id", "reddit.users": "user_id"}


def refuse(refusal: Refusal) -> None:
    raise AssertionError(str(refusal))


def generated(most: int, seed: int = 7, timeline: Timeline = TIMES) -> list[Made]:
    return list(islice(generator.events(ROOT / str(FORUM.generator), TOPICS, timeline, seed, refuse), most))


@pytest.fixture(scope="module")
def events() -> list[Made]:
    return generated(6000)


# ---- the forum ---------------------------------------------------------------------------------------------------------


def test_every_record_obeys_the_declaration_and_no_id_comes_twice(events: list[Made]) -> None:
    ids = set()
    for event in events:
        parsed = read(FORUM.topic(event.topic), event.value, append_us=event.due_us)
        assert isinstance(parsed, Event)
        assert parsed.event_us == event.event_us == TIMES.at(event.position)
        ids.add((parsed.id64, parsed.salted64))
    assert len(ids) == len(events) == 6000


def test_the_same_words_make_the_same_records_and_another_seed_others(events: list[Made]) -> None:
    assert generated(200) == events[:200]
    assert {e.value for e in generated(200, seed=8)}.isdisjoint({e.value for e in events})


def test_topics_come_in_the_proportion_of_the_history(events: list[Made]) -> None:
    counts = Counter(event.topic for event in events)
    # 9,094 posts and edits, 17,452 comments and edits; ever fewer users are new
    assert counts["reddit.comments"] / counts["reddit.posts"] == pytest.approx(17_452 / 9_094, rel=0.1)
    assert 0.05 < counts["reddit.users"] / len(events) < 7_761 / 34_307


def history(name: str) -> list[dict[str, str]]:
    data = gzip.decompress((ROOT / f"data/reddit/reddit.{name}/{name}.csv.gz").read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(data)))


def test_comments_answer_posts_that_are_known_by_then_and_posts_know_how_many(events: list[Made]) -> None:
    posts = {row["post_id"]: int(row["num_comments"]) for row in history("posts")}
    known_users = {row["user_id"] for row in history("users")}
    old, answers = set(posts), Counter()
    for event in events:
        record = json.loads(event.value)
        if event.topic == "reddit.users":
            known_users.add(record["user_id"])
            continue
        assert record["user_id"] in known_users
        if event.topic == "reddit.posts":
            if record["post_id"] not in posts:
                assert (record["score"], record["created_utc"]) == (1, record["timestamp"])
                posts[record["post_id"]] = 0
            elif record["post_id"] not in old:
                assert record["num_comments"] == answers[record["post_id"]]
        elif record["created_utc"] == record["timestamp"]:
            assert record["post_id"] in posts
            answers[record["post_id"]] += 1
    assert sum(n for post, n in answers.items() if post in old) > 100
    assert sum(n for post, n in answers.items() if post not in old) > 1000
    assert max(answers.values()) > 10


def test_edits_change_the_score_and_nothing_else_and_some_take_back(events: list[Made]) -> None:
    newest: dict[tuple[str, str], dict[str, object]] = {}
    edits = deleted = 0
    for event in events:
        record = json.loads(event.value)
        key = (event.topic, record[KEYS[event.topic]])
        before = newest.get(key)
        if before is not None and event.topic != "reddit.users":
            edits += 1
            assert before.get("content") != "[deleted]"
            changed = {n for n in {*record, *before} if record.get(n) != before.get(n)}
            assert changed <= {"score", "num_comments", "timestamp", "content"}
            if "content" in changed:
                assert record["content"] == "[deleted]"
                deleted += 1
        newest[key] = record
    assert edits > 500
    assert 5 < deleted < edits / 5


def test_what_is_held_stays_bounded() -> None:
    history = build_reddit.Forum(build_reddit.SEED, 500, 1500)
    forum, before = build_reddit.Live(history, 3, NOW), len(history.user_records)
    deque(islice(forum.records(NOW, 1), 40_000), maxlen=0)
    assert all(len(held) <= 2 * build_reddit.KEPT + 1 for held in (forum.posts, forum.comments, forum.recent))
    assert len(history.user_records) == before


# ---- how it is run -----------------------------------------------------------------------------------------------------


def test_a_hundred_messages_a_second_are_a_hundred_a_second() -> None:
    """By a watch moved by hand: what is counted is what would have been sent in ten seconds."""
    settings = environment.load({"BRAID_ROOT": str(ROOT)})
    watch = Hand()
    began = watch.now_us()
    feed = feeds.live(flags(["reddit", "--synthetic", "--rate", "100", "--seed", "7"], ""), settings, began)
    assert feed.topics == tuple(KEYS)
    broker, progress = Broker(watch), Progress(0)
    run = Run(
        Outbox(broker, feed.topics[0], progress), pace=Pace(10_000_000, 10_000_000, watch), watch=watch, progress=progress,
        stopping=lambda: False, tick=lambda: None,
    )  # fmt: skip
    sent = feed.events(refuse)
    assert not run.publish(sent)
    sent.close()
    assert progress.sent == 1000
    seconds = Counter(us // 1_000_000 for us, _ in broker.came)
    assert set(seconds.values()) == {100}
    for us, value in broker.came:
        assert read(FORUM.topic(topic_of(value)), value, append_us=began + us).__class__ is Event


def topic_of(value: bytes) -> str:
    record = json.loads(value)
    return next(topic for topic, key in KEYS.items() if key in record and (key != "post_id" or "title" in record))


SCRIPT = """
import sys
for line in ("{}", "t\\t{{\\"id\\": 1}}", "u\\tnever read", "t\\t{{\\"id\\": \\"x\\"}}", "t\\t{{\\"id\\": 2}}"):
    print(line, flush=True)
{}
"""
SMALL = parse(
    """
dataset: small
topic: t
event_id: [id]
event_time: append
generator: data/make.py
fields: {id: {type: integer}}
views: {ids: {by: [id], window: all, measures: {id_: {of: id, stats: [max]}}}}
""".replace("id_:", "ids:")
)


def script(folder: Path, end: str) -> Path:
    path = folder / "make.py"
    path.write_text(SCRIPT.format("no tab", end), encoding="utf-8")
    return path


def test_a_line_that_breaks_the_rules_is_refused_by_its_number(tmp_path: Path) -> None:
    refused: list[Refusal] = []
    topics = {"t": (SMALL.topics[0], "elsewhere")}
    found = list(generator.events(script(tmp_path, ""), topics, TIMES, 7, refused.append))
    assert [(e.position, e.topic, e.key, e.value) for e in found] == [
        (1, "elsewhere", b"[1]", b'{"id": 1}'), (4, "elsewhere", b"[2]", b'{"id": 2}'),
    ]  # fmt: skip
    assert [str(refusal) for refusal in refused] == [
        "make.py line 1: expected a topic, a tab and a record",
        "make.py line 4: $.id: expected an integer, got a string",
    ]


def test_a_script_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    path = script(tmp_path, "raise SystemExit('no more words')")
    with pytest.raises(UsageError, match=r"make\.py: expected records without end, got exit status 1: no more words"):
        list(generator.events(path, {}, TIMES, 7, lambda _: None))
    with pytest.raises(UsageError, match="the declaration names as its generator, got no file"):
        list(generator.events(tmp_path / "other.py", {}, TIMES, 7, refuse))


def test_the_child_ends_with_the_run(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    path = script(tmp_path, f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    running = generator.events(path, {"t": (SMALL.topics[0], "t")}, TIMES, 7, lambda _: None)
    assert [next(running).value, next(running).value] == [b'{"id": 1}', b'{"id": 2}']
    while not told.exists() or not told.read_text("ascii"):
        pass
    running.close()
    assert not Path(f"/proc/{told.read_text('ascii')}").exists()


@pytest.mark.parametrize("path", ["/bin/sh", "data/../../x.py", "../x.py", "datasets/x.py", "data/x.sh", "data/./x.py"])
def test_a_generator_is_a_script_below_data(path: str) -> None:
    with pytest.raises(DeclarationError, match=r"\$\.generator: expected text that matches"):
        parse(SMALL.text.replace("data/make.py", path))
    assert parse(SMALL.text.replace("generator: data/make.py\n", "")).hash == SMALL.hash  # it decides no number


# ---- words -------------------------------------------------------------------------------------------------------------


def test_the_summary_says_that_the_events_were_made_up_and_how_to_make_them_again() -> None:
    settings = environment.load({"BRAID_ROOT": str(ROOT)})
    feed = feeds.live(flags(["reddit", "--synthetic", "--rate", "100", "--seed", "7"], ""), settings, NOW)
    counts = {"dataset": "d", "topic": "a, b", "bootstrap": "h:1", "sent": 2, "acknowledged": 2, "refused": 0, "ended": "done", "seconds": 1.0,
              "rate_per_s": 2.0, "first_time": "x", "last_time": "y", "position": 2}  # fmt: skip
    assert summary_text(counts | feed.facts(), as_json=False).splitlines()[1] == (
        "event times x to y; made up by data/build_reddit.py, and again the same by "
        "--start 2026-11-20T10:03:20Z --every 10ms --seed 7"
    )
    Report(io.StringIO(), quiet=True).progress(Progress(0), 0)
