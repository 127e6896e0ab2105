"""Which files a load reads, and as what; what it keeps of them while it is unfinished."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from braid.declaration_reader import load_all, parse
from braid.errors import UsageError
from producer import cells
from producer.files import Part, Source, at_once, found
from producer.notes import Journal, Rejects, lines
from producer.tables import DataError, Refusal

CHECKOUT = Path(__file__).parents[2]
DECLARED = load_all(CHECKOUT / "datasets")
ROOMS = parse("""
dataset: rooms
topic: rooms
event_id: [k]
event_time: {field: at, zone: UTC}
fields: {k: {type: string}, at: {type: time}, x: {type: integer}, note: {type: string, optional: true}}
views: {v: {by: [k], window: all, measures: {x: {of: x, stats: [mean]}}}}
""")
WHOLE = "k,at,x\na,2026-01-01 00:00:00,1\n"


def names(source: Source) -> list[str]:
    return [part.path.name for part in source.parts]


def test_a_folder_is_its_files_and_those_of_parted_folders(tmp_path: Path) -> None:
    for name in (
        "b.csv",
        "year=2025/a.csv",
        "year=2026/month=1/c.csv",
        "other/d.csv",
        ".hidden/e.csv",
        "_SUCCESS",
        "notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(WHOLE)
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(b'{"k": "a"}\n'))
    pq.write_table(pa.table({"K": ["a"], "at": ["x"], "x": [1]}), tmp_path / "g.parquet")
    sources, passed = found([str(tmp_path)], ROOMS.topics)
    assert [(s.kind, names(s)) for s in sources] == [
        ("json", ["f.jsonl.gz"]), ("parquet", ["g.parquet"]), ("csv", ["b.csv", "a.csv", "c.csv"]),
    ]  # fmt: skip
    assert len(passed) == 2 and "other/" in passed[1] and "notes.txt" in passed[0] + passed[1]
    again, _ = found([f"{tmp_path}/**/*.csv", str(tmp_path / "b.csv")], ROOMS.topics)
    assert sorted(names(again[0])) == ["a.csv", "b.csv", "c.csv", "d.csv", "e.csv"]


def test_a_topic_is_told_by_the_flag_or_a_folder_s_name(tmp_path: Path) -> None:
    topics = DECLARED["reddit"].topics
    sources, _ = found([str(CHECKOUT / "data" / "reddit")], topics)
    assert [s.topic.name for s in sources] == [t.name for t in topics]
    loose = tmp_path / "users.csv.gz"
    loose.write_bytes((CHECKOUT / "data/reddit/reddit.users/users.csv.gz").read_bytes())
    assert [s.topic.name for s in found([str(loose)], topics, "reddit.users")[0]] == ["reddit.users"]
    with pytest.raises(DataError, match=r"users\.csv\.gz: expected a folder called like a topic, reddit\.posts"):
        found([str(loose)], topics)
    with pytest.raises(DataError, match="--topic: expected one of"):
        found([str(loose)], topics, "nothing")


def test_tables_join_by_the_producer_s_rule_and_parts_follow_one_another(tmp_path: Path) -> None:
    (source,), _ = found([str(CHECKOUT / "data" / "landcover")], DECLARED["landcover"].topics)
    assert names(source) == ["images.csv"] and source.made == "timestamp"
    assert sorted(table[0].path.name for table in source.others) == [
        "classes.csv",
        "ndvi_stats.csv",
        "spectral_data.csv",
    ]
    (tmp_path / "a1.csv").write_text("id,k,x\n1,a,1\n")
    (tmp_path / "a2.csv").write_text("id,x,k\n2,1,a\n")
    (tmp_path / "b.csv").write_text("id,at\n1,2026-01-01 00:00:00\n")
    (source,), _ = found([str(tmp_path)], ROOMS.topics)
    assert (names(source), [t[0].path.name for t in source.others], source.made) == (
        ["a1.csv", "a2.csv"],
        ["b.csv"],
        None,
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b"", "expected a header line"),
        ("x.csv", b"k,k\n", "expected columns of different names"),
        ("x.csv", b"k,at\na,b\n", "expected a column 'x', which every event of rooms needs, got k, at"),
        ("x.csv.gz", b"k,at,x\n", "expected a readable CSV file"),
        ("x.jsonl.gz", b"{}", "expected a readable file"),
        ("x.json", b' [{"k": 1}]', "expected JSON lines, a record each, got an array"),
        ("x.jsonl", b"k,at\n", "expected JSON lines"),
        ("x.parquet", b"PAR1", "expected a Parquet file"),
        ("x.txt", b"k", "expected .csv, .jsonl"),
        ("", b"", "got nothing of that name"),
    ],
)
def test_what_is_no_such_file_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as told:
        found([str(tmp_path / (name or "none.csv"))], ROOMS.topics)
    assert "\n" not in str(told.value) and told.value.exit_code == 2


def test_one_job_reads_so_many_bytes_or_files() -> None:
    parts = [
        Part(Path(f"/{i}"), "csv", ("k",), size, 0) for i, size in enumerate((1, 300 << 20, 1, 200 << 20, 100 << 20))
    ]
    assert list(at_once(enumerate(parts))) == [[0], [1], [2, 3], [4]]
    many = [Part(Path(f"/{i}"), "csv", ("k",), 1, 0) for i in range(40)]
    assert [len(some) for some in at_once(enumerate(many))] == [32, 8]


def test_a_part_is_told_by_what_decides_its_records(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(WHOLE)
    first = found([str(tmp_path)], ROOMS.topics)[0][0].marks()
    assert first == found([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], ROOMS.topics)[0][0].marks()
    (tmp_path / "b.csv").write_text(WHOLE + "c,2026-01-01 00:00:00,1\n")
    then = found([str(tmp_path)], ROOMS.topics)[0][0].marks()
    assert then[0] == first[0] and then[1] != first[1]


def test_rows_know_their_lines_whatever_their_quotes_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'k,at,x\r\n"a\nb",t,1\r\n\r\nc,t\r\n\xff,t,1\r\n"d"x,t,1\r\ne,t,5')
    (source,), _ = found([str(path)], ROOMS.topics)
    (task,) = cells.tasks(3, source.parts[0], ["x", "note", "k"], 10, raw=True)
    (batch,) = cells.batches_of(task)
    rows = batch.to_pylist()
    assert [(r["file"], r["line"], r["nth"], r["place"], r["c0"], r["c1"], r["c2"]) for r in rows] == [
        (3, 2, 10, "", "1", None, "a\nb"), (3, 5, 11, "", None, None, None), (3, 6, 12, "k", None, None, None),
        (3, 7, 13, "", None, None, None), (3, 8, 14, "", "5", None, "e"),
    ]  # fmt: skip
    assert [r["problem"] is None for r in rows] == [True, False, False, False, True]
    assert [r["raw"] for r in rows] == [b'"a\nb",t,1', b"c,t", b"\xff,t,1", b'"d"x,t,1', b"e,t,5"]
    assert cells.count(source.parts[0]) == 5


def test_the_journal_goes_on_with_the_same_load_only(tmp_path: Path) -> None:
    one = Journal(tmp_path, "asked", None)
    one.begin()
    rejects = Rejects(Path(one.entry.rejects), 0, fresh=True)
    rejects.write(Refusal("x.csv", 7, "k", "bad"), b"\xff,1", row=False)
    rejects.sync()
    one.note({"m1": (10, 1)}, rejects.size, Counter({"k: bad": 1}), 2)
    rejects.write(Refusal("y.csv", 8, "", "torn"), None, row=True)
    rejects.close()
    two = Journal(tmp_path, "asked", None)
    assert (two.resumed, two.entry, two.done("m1"), two.done("m2")) == (True, one.entry, (10, 1), None)
    again = Rejects(Path(two.entry.rejects), two.entry.size, fresh=False)
    again.close()
    assert [json.loads(line) for line in lines(again.path)] == [
        {"file": "x.csv", "line": 7, "column": "k", "reason": "bad", "raw": "\\xff,1"}
    ]
    other = Journal(tmp_path, "something else", None)
    assert not other.resumed and other.entry.load != one.entry.load
    two.end()
    assert not Journal(tmp_path, "asked", None).resumed


def test_another_s_file_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("precious")
    with pytest.raises(UsageError, match="expected a name not yet taken for the rejects"):
        Rejects(tmp_path / "mine.jsonl", 0, fresh=True)
    (tmp_path / "journal.json").write_text("{")
    with pytest.raises(UsageError, match="expected the journal of a load"):
        Journal(tmp_path, "asked", None)
