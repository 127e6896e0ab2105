"""`braid new` and `braid check`: from a file of somebody's own to a declaration that takes it, and what is wrong if not."""

import csv
import gzip
import json
import os
import random
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from braid import cql
from braid.adapters import kafka
from braid.adapters.kafka import Seen
from braid.declaration_reader import load, load_all, parse
from braid.errors import StoreUnavailable
from cli.main import main

ROOT = Path(__file__).parents[2]
NOISE = """\
dataset: noise
topic: noise-events
event_id: [sensor, at]
event_time: {field: at, zone: UTC}
fields:
  sensor: {type: string}
  at:     {type: time}
  room:   {type: string, values: [lab, hall]}
  db:     {type: decimal, scale: 2, min: 0, max: 200}
views:
  noise_by_room: {by: [room], window: 1 minute, measures: {noise: {of: db, stats: [mean]}}}
"""
GOOD = {"sensor": "a-1", "at": "2026-03-01T10:00:00Z", "room": "lab", "db": "41.25"}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of nobody's: datasets/ is empty, and the commands run in it."""
    for name in [name for name in os.environ if name.startswith("BRAID_") and name != "BRAID_CACHE"]:
        monkeypatch.delenv(name)
    here = tmp_path / "root"
    (here / "datasets").mkdir(parents=True)
    for folder in ("src", "infrastructure"):
        (here / folder).symlink_to(ROOT / folder)
    monkeypatch.setenv("BRAID_ROOT", str(here))
    monkeypatch.setenv("BRAID_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(here)
    return here


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def readings(n: int = 200) -> list[dict[str, str]]:
    rng = random.Random(5)
    return [
        {"Sensor": f"a-{i % 8}", "room": ("lab", "hall")[i % 2], "at": f"2026-03-01T10:{i // 8:02d}:00Z", "dB": f"{rng.uniform(30, 90):.2f}"}
        for i in range(n)
    ]  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> tuple[str, str]:
    assert main(list(argv)) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


# ---- new -----------------------------------------------------------------------------------------------------------


def test_a_csv_file_becomes_a_dataset_that_takes_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "readings.csv", readings())
    out, err = told(capsys, "new", "noise", "--from", "readings.csv")
    assert out == ""
    made = load_all(root / "datasets")["noise"]
    topic = made.topics[0]
    assert (topic.name, topic.event_id, topic.event_time.field) == ("noise-events", ("sensor", "at"), "at")
    assert {name: f.type for name, f in topic.fields.items()} == {
        "sensor": "string", "room": "string", "at": "time", "db": "decimal",
    }  # fmt: skip
    assert topic.fields["room"].values == ("hall", "lab")
    assert made.alerts[0].of == "db"
    assert "event id    sensor, at: a guess: no two of 200 samples share both" in err
    assert "of these samples 200 are good, 0 copies, 0 dead letters" in err
    assert "  braid check noise --from readings.csv\n  braid up\n" in err
    assert "  braid produce noise --data readings.csv --limit all --rate 1000" in err
    out, err = told(capsys, "check", "noise", "--from", "readings.csv")
    assert out.startswith("readings.csv: 200 records: 200 good, 0 copies, 0 dead letters\n")


def test_json_lines_packed_or_not_and_parquet_say_the_same(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"sensor": r["Sensor"], "room": r["room"], "at": r["at"], "db": float(r["dB"])} for r in readings()]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (root / "a.jsonl").write_bytes(lines)
    (root / "a.ndjson.gz").write_bytes(gzip.compress(lines))
    pq.write_table(pa.Table.from_pylist(rows), root / "a.parquet")
    texts = []
    for name in ("a.jsonl", "a.ndjson.gz", "a.parquet"):
        out, _ = told(capsys, "new", "noise", "--from", name, "--out", "-")
        texts.append(out.replace(name, "FILE"))
    assert texts[0] == texts[1] == texts[2]
    assert "db:     {type: decimal, scale: 2}" in texts[0]
    assert list((root / "datasets").iterdir()) == []


def test_a_file_that_exists_is_not_written_over(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "readings.csv", readings())
    path = root / "datasets" / "noise.yaml"
    path.write_text("mine")
    _, err = told(capsys, "new", "noise", "--from", "readings.csv", status=2)
    assert err == f"braid: new: {path} exists; --force writes over it, --out PATH writes elsewhere\n"
    assert path.read_text() == "mine"
    told(capsys, "new", "noise", "--from", "readings.csv", "--out", "mine.yaml")
    assert load(root / "mine.yaml").dataset == "noise"
    told(capsys, "new", "noise", "--from", "readings.csv", "--force")
    assert load(path).dataset == "noise"


def test_lines_that_cannot_be_read_are_counted_and_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"room": "lab", "db": i}) for i in range(40)]
    (root / "a.jsonl").write_text("\n".join([*lines, "{", "", "[1]"]) + "\n")
    _, err = told(capsys, "new", "noise", "--from", "a.jsonl")
    assert err.startswith("a.jsonl: 40 records; 2 more cannot be read\n")
    out, _ = told(capsys, "check", "noise", "--from", "a.jsonl", "--json", status=1)
    assert [(r["reason"], r["place"]) for r in json.loads(out)["reasons"]] == [
        ("expected one JSON object", "a.jsonl:43"), ("expected well-formed JSON of at most 16 levels", "a.jsonl:41"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["new", "noise"], "--from"),
        (["new", "Noise", "--from", "a.csv"], "expected a name of lower-case letters"),
        (
            ["new", "noise", "--from", "none.csv"],
            "none.csv: expected a file, a folder of CSV files or a Kafka topic, got no such file",
        ),
        (["new", "noise", "--from", "a.xls"], "a.xls: expected .csv, .jsonl"),
        (["new", "noise", "--from", "empty.csv"], "empty.csv: expected a header line, got an empty file"),
        (
            ["new", "noise", "--from", "semi.csv"],
            "semi.csv: expected values separated by commas, got ';' in every line",
        ),
        (["new", "noise", "--from", "array.json"], "expected JSON lines, a record each, got an array"),
        (["new", "noise", "--from", "a.parquet"], "a.parquet: expected a Parquet file"),
        (["new", "noise", "--from", "a.csv", "--out", "nowhere/a.yaml"], "expected a folder nowhere, got none"),
        (["check", "noise", "--from", "a.csv"], "expected one of the datasets none, got 'noise'"),
        (["check", "bad.yaml", "--from", "a.csv"], "bad.yaml:9: $.fields.db.maks: expected one of "),
    ],
)
def test_a_wrong_request_exits_2(root: Path, capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    write(root / "a.csv", readings())
    for name, text in (
        ("semi.csv", "a;b\n1;2\n"),
        ("a.xls", ""),
        ("empty.csv", ""),
        ("array.json", "[1]"),
        ("a.parquet", "PAR"),
    ):
        (root / name).write_text(text)
    (root / "bad.yaml").write_text(NOISE.replace("max: 200", "maks: 200"))
    _, err = told(capsys, *argv, status=2)
    assert says in err


# ---- check ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def noise(root: Path) -> Path:
    path = root / "datasets" / "noise.yaml"
    path.write_text(NOISE)
    return path


def test_a_file_is_judged_line_by_line(noise: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [
        {"db": "abc"},
        {"db": "1e3"},
        {"db": "N/A"},
        {"room": "attic"},
        {"at": "2126-03-01T10:00:00Z"},
        {"sensor": ""},
    ]
    rows = [GOOD, GOOD, *(GOOD | {"sensor": f"b-{i}"} | bad for i, bad in enumerate(wrong))]
    write(root / "a.csv", rows)
    out, _ = told(capsys, "check", "noise", "--from", "a.csv", "--json", status=1)
    assert json.loads(out) == {
        "dataset": "noise", "sources": ["a.csv"], "records": 8, "good": 1, "copies": 1, "dead": 6,
        "reasons": [
            {"reason": "$.db: expected a decimal, got a string", "count": 2, "place": "a.csv:4", "sample": "'abc'"},
            {"reason": "$.at: later than 5 minutes after the append time", "count": 1, "place": "a.csv:8", "sample": "'2126-03-01T10:00:00Z'"},
            {"reason": "$.db: expected a decimal without exponent, with at most 28 digits after the point", "count": 1, "place": "a.csv:5", "sample": "'1e3'"},
            {"reason": "$.room: expected one of lab, hall", "count": 1, "place": "a.csv:7", "sample": "'attic'"},
            {"reason": "$.sensor: missing", "count": 1, "place": "a.csv:9", "sample": ""},
        ],
        "views": [{"view": "noise_by_room", "keys": 1, "windows": 1, "rows": 1, "events": 1}],
    }  # fmt: skip


def test_what_is_shown_to_a_person(noise: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "a.csv", [GOOD | {"extra": "1"}, GOOD | {"room": "attic", "extra": "1"}])
    out, err = told(capsys, "check", "noise", "--from", "a.csv", status=1)
    assert out.startswith("a.csv: 2 records: 1 good, 0 copies, 1 dead letters\n")
    assert "expected one of lab, hall" in out and "a.csv:3" in out and "noise_by_room" in out
    assert err == "columns that no field takes, so they are not sent: extra\n"


def test_the_folder_of_the_dataset_is_the_default(noise: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = told(capsys, "check", "noise")
    assert out == "noise: a declaration of topic noise-events and views noise_by_room\n"
    assert "there is no data/noise" in err
    (root / "data" / "noise").mkdir(parents=True)
    write(root / "data" / "noise" / "a.csv", [GOOD])
    out, _ = told(capsys, "check", "noise")
    assert out.startswith("noise/: 1 records: 1 good")


def test_a_time_that_no_file_has_is_the_producer_s(noise: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "a.csv", [{name: GOOD[name] for name in ("sensor", "room", "db")}] * 3)
    out, _ = told(capsys, "check", "noise", "--from", "a.csv", "--json")
    assert (json.loads(out)["good"], json.loads(out)["copies"]) == (3, 0)


def test_a_limit_says_that_it_stopped(noise: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root / "a.csv", [GOOD | {"sensor": str(i)} for i in range(5)])
    out, err = told(capsys, "check", "noise", "--from", "a.csv", "--limit", "3")
    assert out.startswith("a.csv: 3 records: 3 good")
    assert "stopped after 3 records" in err


FORUM = """\
dataset: forum
topics:
  forum.posts:
    event_id: [post]
    event_time: append
    fields: {post: {type: string}, board: {type: string}, score: {type: integer}}
  forum.votes:
    event_id: [vote]
    event_time: append
    fields: {vote: {type: string}, board: {type: string}, score: {type: integer, min: 0}}
views:
  by_board: {by: [board], window: all, where: "score < 5", measures: {score: {of: score, stats: [mean]}}}
  votes:    {topics: [forum.votes], by: [board], window: all, measures: {score: {of: score, stats: [mean]}}}
"""


def test_several_topics_have_a_folder_each(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "datasets" / "forum.yaml").write_text(FORUM)
    for topic, name in (("forum.posts", "post"), ("forum.votes", "vote")):
        (root / "data" / "forum" / topic).mkdir(parents=True)
        rows = [{name: str(i), "board": "ab"[i % 2], "score": str(i - 1)} for i in range(10)]
        write(root / "data" / "forum" / topic / "a.csv", rows)
    out, _ = told(capsys, "check", "forum", "--json", status=1)
    assert json.loads(out) | {"reasons": 1} == {
        "dataset": "forum", "sources": ["forum.posts/", "forum.votes/"], "records": 20, "good": 19, "copies": 0, "dead": 1, "reasons": 1,
        "views": [
            {"view": "by_board", "keys": 2, "windows": 1, "rows": 2, "events": 11},
            {"view": "votes", "keys": 2, "windows": 1, "rows": 2, "events": 9},
        ],
    }  # fmt: skip
    out, _ = told(capsys, "check", "forum", "--topic", "forum.posts", "--json")
    assert json.loads(out)["good"] == 10
    path = str(root / "data" / "forum" / "forum.votes" / "a.csv")
    _, err = told(capsys, "check", "forum", "--from", path, status=2)
    assert err == "braid: check: expected --topic, one of forum.posts, forum.votes, got none\n"
    told(capsys, "check", "forum", "--from", path, "--topic", "forum.votes", status=1)
    told(capsys, "check", "forum", "--from", str(root / "data" / "forum"), status=1)
    _, err = told(capsys, "check", "forum", "--from", "datasets", status=2)
    assert "expected folders of the names forum.posts, forum.votes, or --topic, got neither" in err


def test_a_declaration_of_another_name_than_its_file_is_refused(
    noise: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise.rename(noise.with_name("loud.yaml"))
    _, err = told(capsys, "check", "loud", status=2)
    assert err == "braid: datasets/loud.yaml: $.dataset: expected 'loud' like the file, got 'noise'\n"


def test_the_walk_through_of_contributing_is_true(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    blocks = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    (table,) = (block for _, kind, block in blocks if not kind and block.startswith("sensor,"))
    (declared,) = (textwrap.dedent(block) for _, kind, block in blocks if kind == "yaml")
    (root / "readings.csv").write_text(table)
    told(capsys, "new", "noise", "--from", "readings.csv")
    (root / "datasets" / "noise.yaml").write_text(declared)
    out, _ = told(capsys, "check", "noise", "--from", "readings.csv")
    assert out.startswith("readings.csv: 1 records: 1 good")


def test_what_else_a_declaration_may_say_is_one() -> None:
    (text,) = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "own_data.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    declared = parse(text)
    assert [topic.name for topic in declared.topics] == ["rides.done", "rides.asked"]
    assert cql.text(declared)


# ---- a topic -------------------------------------------------------------------------------------------------------


class Topic:
    """What the adapter would read of a topic; its own test is on a broker (tests/services/test_own_data.py)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, records: list[Seen]) -> None:
        self.records = records
        monkeypatch.setattr(kafka, "newest_span", self.span)
        monkeypatch.setattr(kafka, "between", self.between)

    def span(self, bootstrap: str, topic: str, limit: int) -> tuple[dict[Any, int], dict[Any, int]]:
        if topic != "loud.noises":
            raise StoreUnavailable(f"Kafka at {bootstrap}: expected topic {topic} to exist, got none")
        return {}, {(topic, 0): limit}

    def between(self, bootstrap: str, start: Any, end: Any) -> Iterator[tuple[str, list[Seen]]]:
        yield "loud.noises", self.records


def seen(i: int, key: bytes | None) -> Seen:
    value = {
        "sensor": f"a-{i % 8}",
        "room": ("lab", "hall")[i % 2],
        "at": f"2026-03-01T10:{i // 8:02d}:00Z",
        "db": i / 4,
    }
    return Seen(i % 3, i // 3, 1_795_169_000_000_000, key, json.dumps(value).encode())


@pytest.mark.parametrize(
    "keys", [lambda i: None, lambda i: b"same", lambda i: str(i).encode()], ids=["no key", "one key", "keys"]
)
def test_a_topic_is_drafted_from_and_checked_whatever_its_keys(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: Any
) -> None:
    copy = seen(0, keys(7))._replace(
        partition=2, offset=999
    )  # in another partition than the first: its key was another
    dead = Seen(1, 1000, 1_795_169_000_000_000, keys(8), b"by hand")
    Topic(monkeypatch, [seen(i, keys(i)) for i in range(100)] + [copy, dead])
    monkeypatch.setenv("BRAID_PORTS", "standard")
    _, err = told(capsys, "new", "noise", "--from", "loud.noises")
    made = load(root / "datasets" / "noise.yaml")
    assert (made.topics[0].name, made.topics[0].event_id) == ("loud.noises", ("sensor", "at"))
    assert "topic loud.noises: 101 records; 1 more cannot be read" in err and "produce" not in err
    out, _ = told(capsys, "check", "noise", "--from", "loud.noises", "--json", status=1)
    facts = json.loads(out)
    assert (facts["good"], facts["copies"], facts["dead"]) == (100, 1, 1)
    assert facts["reasons"][0]["place"] == "loud.noises:1:1000"


def test_a_topic_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Topic(monkeypatch, [])
    monkeypatch.setenv("BRAID_PORTS", "standard")
    _, err = told(capsys, "new", "noise", "--from", "quiet", status=1)
    assert err.startswith("braid: quiet: no file is called so, and as a topic: Kafka at ")
