"""A load against the producer: the same files give the same keys, bytes and partitions, and refuse the same lines with the same words."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from braid import records, shape
from braid.adapters import parquet
from braid.declaration import Topic
from braid.declaration_reader import load_all, parse
from braid.instants import iso
from braid.samples import json_of
from producer.files import found
from producer.load import Loading, Outcome
from producer.notes import Journal, Rejects, lines
from producer.sources import Outgoing, Timeline, events, made_field
from producer.tables import DataError, Refusal, read_folder

CHECKOUT = Path(__file__).parents[2]
DECLARED = load_all(CHECKOUT / "datasets")
NOW_US = 1_780_000_000_000_000
TIMELINE = Timeline(1_767_225_600_000_000, 10_000_000)
PARTITIONS = 3
NOISE = parse("""
dataset: noise
topic: noise
event_id: [sensor, at]
event_time: {field: at, zone: Europe/Zurich}
fields:
  sensor: {type: string, max_length: 12}
  room:   {type: string, optional: true}
  at:     {type: time}
  db:     {type: decimal, scale: 3, min: -5, max: 200}
  count:  {type: integer, optional: true, key: "how often.a day"}
views:
  v: {by: [sensor], window: all, measures: {db: {of: db, stats: [mean]}}}
""")


class Loaded:
    """One load into a list in the place of Kafka."""

    def __init__(
        self, spark: SparkSession, home: Path, topics: Sequence[Topic], *paths: Path, journal: bool = False
    ) -> None:
        self.sent: list[tuple[str, bytes, bytes, int]] = []
        self.sources, self.passed = found([str(p) for p in paths], topics)
        self.journal = Journal(home if journal else None, "asked", None if journal else home / "rejects.jsonl")
        entry = self.journal.entry
        self.rejects = Rejects(Path(entry.rejects), entry.size, fresh=False)
        self.outcome = Outcome()
        known = dict.fromkeys((t.name for t in topics), PARTITIONS)
        self.loading = Loading(
            spark, self.sources, known, TIMELINE, NOW_US, self.journal, self.rejects, self.outcome, self._send
        )

    def _send(self, frame: DataFrame, topic: str) -> None:
        self.sent += [(topic, bytes(r.key), bytes(r.value), r.partition) for r in frame.collect()]

    def run(self) -> Loaded:
        try:
            list(self.loading.run())
        finally:
            self.rejects.close()
        return self

    def rejected(self, *, ignored: bool = False) -> list[dict[str, Any]]:
        some = [json.loads(line) for line in lines(self.rejects.path)]
        return [one for one in some if one.pop("ignored", False) == ignored]


def by_producer(topic: Topic, folder: Path) -> tuple[list[Outgoing], list[Refusal], list[Refusal]]:
    """Return what the producer sends, refuses and ignores of a folder."""
    data, refused = read_folder(folder), list[Refusal]()
    timeline = TIMELINE if made_field(topic, data) else Timeline(NOW_US, 0)
    sent = list(events(topic, data, timeline, end=len(data.rows), refused=refused.append))
    return sent, refused, list(data.ignored)


def check_same(topic: Topic, loaded: Loaded, folder: Path) -> None:
    sent, refused, ignored = by_producer(topic, folder)
    expected = [(topic.name, e.key, e.value, zlib.crc32(e.key) % PARTITIONS) for e in sent]
    assert sorted(loaded.sent) == sorted(expected)
    for one, mine in ((refused, loaded.rejected()), (ignored, loaded.rejected(ignored=True))):
        told = sorted((r["file"], r["line"], r.get("column", ""), r["reason"]) for r in mine)
        assert told == sorted((r.file, r.line, r.column, r.reason) for r in one)
    total = loaded.outcome.total()
    assert (total.rows, total.rejected) == (len(sent) + len(refused), len(refused))


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [("landcover", ""), ("reddit", "reddit.users"), ("taxi_trips", ""), ("traffic", "chicago")],
)
def test_the_sample_data_are_what_the_producer_sends(
    spark: SparkSession, tmp_path: Path, dataset: str, folder: str
) -> None:
    declared, path = DECLARED[dataset], CHECKOUT / "data" / dataset / folder
    topic = next((t for t in declared.topics if t.name == folder), declared.topics[0])
    check_same(topic, Loaded(spark, tmp_path, [topic], path).run(), path)


ODD = (
    b"\xef\xbb\xbfsensor,at,db,room,count,unused\r\n"
    b"a,2026-03-01 10:00:00,1.5,lab,3,x\r\n"
    b'"b ""quoted"" \\ /",2026-03-01T10:00:00.25Z,-0.0005,"two\nlines",,\r\n'
    b"c,2026-03-29 02:30:00,.5,lab,1,\r\n"
    b"d,2026-03-01 10:00:00,1e3,lab,1,\r\n"
    b"e,2026-03-01 10:00:00,200.0005,lab,1,\r\n"
    b"f,2026-03-01 10:00:00,200.0004999,lab,1.0,\r\n"
    b"\r\n"
    b"g,2026-03-01 10:00:00,1\r\n"
    b"h,2026-03-01 10:00:00,NaN,lab,1,\r\n"
    b"\xff,2026-03-01 10:00:00,1,lab,1,\r\n"
    b"i,2026-03-01 10:00:00,-4.0005,\xc3\xa9\xe2\x82\xac,007,\r\n"
    b"j,2099-03-01 10:00:00,2,lab,1,\r\n"
    b'k,"2026-03-01 10:00:00"x,2,lab,1,\r\n'
    b"much too long a name,2026-03-01 10:00:00,2,lab,1,\r\n"
    b" ,2026-03-01 10:00:00,2,lab,1,\r\n"
    b"l,2026-03-01 10:00:00,12.3456,,-5,\r\n"
    b"m,2026-03-01 10:00:00,2\n,lab,1,\r\n"
    b"n,1970-01-01 00:00:00Z,0,l\x01b,1,\r\n"
    b"o,2026-03-01 10:00:00.123456+05:30,0.0000,\x7f,1,\n"
)


@pytest.mark.parametrize("packed", [False, True])
def test_odd_rows_are_sent_and_refused_as_the_producer_does(spark: SparkSession, tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    if packed:
        (folder / "odd.csv.gz").write_bytes(gzip.compress(ODD))
    else:
        (folder / "odd.csv").write_bytes(ODD)
    loaded = Loaded(spark, tmp_path, NOISE.topics, folder).run()
    check_same(NOISE.topics[0], loaded, folder)
    held = {r["line"]: r for r in loaded.rejected()}
    name = "odd.csv.gz" if packed else "odd.csv"
    assert held[10] == {
        "file": name,
        "line": 10,
        "reason": "expected 6 values as in the header, got 3",
        "raw": "g,2026-03-01 10:00:00,1",
    }
    assert held[12]["raw"] == "\\xff,2026-03-01 10:00:00,1,lab,1,"


def test_tables_are_joined_and_what_finds_no_partner_is_named_as_by_the_producer(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "joined"
    folder.mkdir()
    (folder / "a.csv").write_text(
        "reading,sensor,db\n1,s1,1.5\n2,s2,2\n3,s9,3\n4,s1,oops\n2,s1,7\n5,s1\n6,s3,1\n7,s1,4\n"
    )
    (folder / "b.csv").write_text("sensor,room\ns1,lab\ns2,hall\ns1,attic\ns3,\n,x\n")
    (folder / "c.csv").write_text(
        "reading,at\n1,2026-03-01 10:00:00\n2,2026-03-01 11:00:00\n4,2026-03-01 10:00:00\n6,x\n99,2026-03-01 10:00:00\n"
    )
    check_same(NOISE.topics[0], Loaded(spark, tmp_path, NOISE.topics, folder).run(), folder)


CELL = st.one_of(
    st.sampled_from(["", "0", "-0", "-0.0", "1.25", "1e2", "00", "٣", "+1", " 1", "null", "true", "2026-03-01 10:00:00", "199.9995"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=14),
    st.decimals(-6, 201, places=5).map(lambda d: f"{d:f}"),
)  # fmt: skip


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), min_size=30, max_size=60))
def test_no_cell_makes_the_two_differ(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    home = tmp_path_factory.mktemp("cells")
    folder = home / "in"
    folder.mkdir()
    good = "2026-03-01T10:00:00Z"
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    # mostly a good id, time and number, so that the other cells are looked at
    texts = [
        f"{a if i % 5 == 0 else i},{b if i % 5 == 1 else good},{c if i % 5 == 2 else 1.5},{d},{e if i % 5 == 4 else ''}"
        for i, (a, b, c, d, e) in enumerate(quoted)
    ]
    (folder / "x.csv").write_text("sensor,at,db,room,count\n" + "\n".join(texts) + "\n", encoding="utf-8")
    check_same(NOISE.topics[0], Loaded(spark, home, NOISE.topics, folder).run(), folder)


@pytest.mark.parametrize(
    ("scale", "values"), [(0, [0, 7, -7, 2_999_999_999]), (3, [0, 5, -5, 1000, -1001, -2_999_999_999])]
)
def test_numbers_and_instants_are_written_as_the_producer_writes_them(
    spark: SparkSession, scale: int, values: list[int]
) -> None:
    frame = spark.createDataFrame([(v,) for v in values], "x bigint")
    assert [r[0] for r in frame.selectExpr(shape.number("x", scale)).collect()] == [
        f"{Decimal(v).scaleb(-scale):f}" for v in values
    ]
    instants = [0, 1, 999_999, 10**15, 1_774_747_800_250_000, 7_258_118_399_999_999]
    frame = spark.createDataFrame([(v,) for v in instants], "x bigint")
    assert [r[0] for r in frame.selectExpr(shape.instant("x")).collect()] == [iso(v) for v in instants]


def test_parquet_rows_are_judged_by_their_types_and_named_by_their_number(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({
        "Sensor": ["a", "b", "c", None, "é", "f", "g"],
        "at": pa.array([1_772_359_200_000_000 + i for i in range(7)], pa.timestamp("us", "UTC")),
        "db": pa.array([1.5, 1e-7, 2.0005, 1.0, float("nan"), 199.0, 201.0]),
        "count": pa.array([1, None, 3, 4, 5, 6, 7], pa.int16()),
        "room": pa.array(["lab", None, 'q"', "x", "y", "", "z"]).dictionary_encode(),
        "unused": pa.array([[1]] * 7),
    })  # fmt: skip
    pq.write_table(table, path, row_group_size=3)
    topic = NOISE.topics[0]
    loaded = Loaded(spark, tmp_path, NOISE.topics, path).run()
    expected, bad = [], {}
    for number, cells in enumerate(parquet.rows(path), start=1):
        raw = json_of({field.member: cells[name] for name, field in topic.fields.items()})
        one = records.parse(topic, raw, NOW_US)
        if isinstance(one, records.DeadLetter):
            bad[number] = (one.reason, raw.decode())
        else:
            expected.append((one.id64, one.salted64))
    got = [records.parse(topic, value, NOW_US) for _, _, value, _ in loaded.sent]
    assert sorted((e.id64, e.salted64) for e in got if isinstance(e, records.Event)) == sorted(expected)
    told = loaded.rejected()
    assert [r["row"] for r in told] == sorted(bad) == [4, 5, 6, 7]
    assert [r["raw"] for r in told] == [bad[r["row"]][1] for r in told]
    assert told[-1]["reason"] == "expected a decimal in [-5, 200]; the file has '201.0'" and told[-1]["column"] == "db"


def test_json_lines_are_sent_byte_for_byte_with_the_key_of_their_id(spark: SparkSession, tmp_path: Path) -> None:
    good = b' {"sensor": "a", "at": "2026-03-01 10:00:00", "db": 1.50, "more": [1]} '
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(
            good
            + b"\r\n\n"
            + b'{"sensor": "a"}\n'
            + b'{"sensor": "'
            + b"x" * 1_100_000
            + b'"}\n'
            + good.replace(b'"a"', b'"b"')
        )
    )
    loaded = Loaded(spark, tmp_path, NOISE.topics, path).run()
    assert sorted(value for _, _, value, _ in loaded.sent) == sorted([good, good.replace(b'"a"', b'"b"')])
    assert {key for _, key, _, _ in loaded.sent} == {b'["a","2026-03-01T09:00:00Z"]', b'["b","2026-03-01T09:00:00Z"]'}
    assert [(r["line"], r["reason"]) for r in loaded.rejected()] == [
        (3, "$.at: missing"),
        (4, "expected at most 999999 bytes"),
    ]
    assert loaded.outcome.total().rows == 4


def test_a_load_that_was_interrupted_sends_the_other_files_and_no_reject_twice(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(4):
        rows = "".join(f"{i}-{k},2026-03-01 10:00:00,{k}\n" for k in range(5))
        (folder / f"p{i}.csv").write_text(f"sensor,at,db\n{rows}{i}-bad,2026-03-01 10:00:00,x\n")
    monkeypatch.setattr("producer.files.AT_ONCE_FILES", 1)
    first = Loaded(spark, tmp_path, NOISE.topics, folder, journal=True)
    steps = first.loading.run()
    next(steps)
    next(steps)
    # killed after the rejects of the third file are written and before the journal is
    monkeypatch.setattr(first.journal, "note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    first.rejects.close()
    again = Loaded(spark, tmp_path, NOISE.topics, folder, journal=True)
    assert again.journal.resumed and again.journal.entry.load == first.journal.entry.load
    again.run()
    assert (
        len(first.sent) == 15 and len(again.sent) == 10 and {*first.sent, *again.sent} == {*first.sent} | {*again.sent}
    )
    assert len({*first.sent, *again.sent}) == 20
    assert [r["file"] for r in again.rejected()] == [f"p{i}.csv" for i in range(4)]
    assert again.outcome.total().rows == 24 and again.outcome.total().rejected == 4


@pytest.mark.parametrize("packed", [".csv.gz", ".jsonl.gz"])
def test_a_file_that_ends_in_the_middle_is_named_with_its_line(
    spark: SparkSession, tmp_path: Path, packed: str
) -> None:
    row = (
        '{{"sensor": "{0}", "at": "2026-03-01 10:00:00", "db": 1}}\n'
        if "json" in packed
        else "{0},2026-03-01 10:00:00,1\n"
    )
    text = "" if "json" in packed else "sensor,at,db\n"
    text += "".join(row.format(f"s{zlib.crc32(str(i).encode())}") for i in range(30_000))
    whole = gzip.compress(text.encode())
    path = tmp_path / f"torn{packed}"
    path.write_bytes(whole[: len(whole) // 2])
    loaded = Loaded(spark, tmp_path, NOISE.topics, path)
    with pytest.raises(
        DataError, match=r"torn\S+ line \d+: cannot be read any further: .*; what stood before it was sent"
    ):
        loaded.run()
    assert len(loaded.sent) > 1000
