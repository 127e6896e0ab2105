"""An export holds every archived record once, with exactly its values, whatever the format and wherever it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from braid.adapters import durable, hours
from braid.adapters.master import MANIFEST, TALLY
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import MasterRefused, UsageError
from cli.main import main
from export import run
from export.folder import Folder, Wanted
from export.run import Summary
from tests.unit.export_world import BOTH, CALLS, HOUR_US, START_US, Archive, bad, call, expected, read, text

FORMATS = ("avro", "csv", "parquet")
END_US = START_US + HOUR_US


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Three cuts: of one hour, of three hours in two partitions, of nothing."""
    made = Archive(tmp_path / "warehouse")
    made.archive(
        [
            call(0, 1, START_US, "0.1234565", "0.000000001"),
            call(1, 2, START_US + 1, "-2999.999999", "-2.999999999"),
            bad(2, 2, END_US - 1, b'{"call": "\xff"}'),
            bad(3, 2, END_US - 1, None),
            text(0, 2, START_US + 7, 'two, "quoted", – and €; '),
        ],
        through=3,
    )
    made.archive(
        [
            *(call(n, 4, START_US + n * HOUR_US // 2, None) for n in range(4, 8)),
            *(call(n, 5, START_US + n * HOUR_US // 2, "0", partition=1) for n in range(1, 6)),
            bad(8, 5, START_US + 4 * HOUR_US, b"not JSON"),
            bad(9, 5, START_US + 4 * HOUR_US, b""),
            bad(10, 5, START_US + 4 * HOUR_US, b'a\x00b\r,"x"\n\n""'),
        ],
        through=5,
    )
    made.archive([], through=6)
    return made


def declared(*known: Declaration) -> Any:
    by_hash = {d.hash: d for d in known or (BOTH,)}
    return by_hash.__getitem__


def exported(archive: Archive, out: Path, format_: str = "parquet", **bounds: int) -> Summary:
    """Run an export to its end."""
    steps = run.steps(archive.master, declared(), Folder(out), Wanted(archive.declaration.dataset, format_, **bounds))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def files(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_every_record_is_read_back_with_equal_values(archive: Archive, tmp_path: Path, format_: str) -> None:
    summary = exported(archive, tmp_path / "out", format_)
    assert read(tmp_path / "out", BOTH) == expected(BOTH, archive.sent)
    assert (dict(summary.records), dict(summary.dead)) == ({"calls.in": 16, "texts": 1}, {"calls.in": 5, "texts": 0})
    assert (summary.ledger_records, summary.ledger_dead, summary.through_seq) == (17, 5, 6)
    assert summary.whole and (summary.cuts, summary.written, summary.outside) == (3, 3, 0)


def test_the_summary_says_what_was_compared(archive: Archive, tmp_path: Path) -> None:
    summary = exported(archive, tmp_path / "out")
    assert run.told(summary) == (
        "17 records, 5 of them dead letters: equal to the ledger's counts, row by row, up to seq 6 (the newest cut)"
    )
    part = exported(archive, tmp_path / "part", from_us=START_US + HOUR_US)
    assert run.told(part) == (
        "11 records appended from 2026-01-01T01:00:00Z, 3 of them dead letters; out of 1 cut with 12 records, "
        "equal to the ledger's counts, row by row"
    )


def test_duckdb_and_pandas_read_the_folder(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(archive, out)
    found = duckdb.sql(
        f"select topic, count(*), sum(cost), count(reason) from read_parquet('{out}/topic=*/**/*.parquet', "
        "hive_partitioning = true, union_by_name = true) where hour < '02' group by topic order by topic"
    ).fetchall()
    assert found == [("calls.in", 7, Decimal("0.123456") - Decimal("2999.999999"), 2), ("texts", 1, None, 0)]
    frame = pd.read_parquet(out / "topic=calls.in")
    assert (len(frame), frame["hour_"].sum(), str(frame["append_time"].dt.tz)) == (16, 38, "UTC")


def test_a_unit_and_a_meaning_go_with_the_column(archive: Archive, tmp_path: Path) -> None:
    exported(archive, tmp_path / "out")
    path = next((tmp_path / "out").glob("topic=calls.in/**/*.parquet"))
    found = duckdb.sql(f"select count(*) from parquet_schema('{path}') where name = 'cost'").fetchall()
    assert found == [(1,)]
    assert pq.read_schema(path).field("cost").metadata.items() >= {b"unit": b"EUR", b"meaning": b"what it cost"}.items()


def test_a_cut_keeps_the_columns_of_the_declaration_it_was_archived_under(tmp_path: Path) -> None:
    archive = Archive(tmp_path, CALLS)
    archive.archive([call(0, 1, START_US)], through=1)
    later = parse(CALLS.text.replace("  tiny:   {type: decimal, scale: 9, optional: true}\n", ""), "later")
    two = call(1, 2, START_US + HOUR_US)
    archive.archive([two], 2, later)
    steps = run.steps(archive.master, declared(CALLS, later), Folder(tmp_path / "out"), Wanted("calls", "parquet"))
    assert any(step == "cut=2: 1 records" for step in steps)
    first, second = read(tmp_path / "out", CALLS)
    assert "tiny" in first and "tiny" not in second


# ---- a part of the time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "bounds", [{"from_us": START_US + 1}, {"to_us": START_US + 1}, {"from_us": END_US, "to_us": END_US + HOUR_US}]
)
def test_from_and_to_are_half_open_on_the_append_time(
    archive: Archive, tmp_path: Path, format_: str, bounds: dict[str, int]
) -> None:
    exported(archive, tmp_path / "out", format_, **bounds)
    first, last = bounds.get("from_us", 0), bounds.get("to_us", 2**62)
    assert read(tmp_path / "out", BOTH) == expected(BOTH, [s for s in archive.sent if first <= s.append_us < last])


def test_a_cut_outside_the_time_is_not_read(archive: Archive, tmp_path: Path) -> None:
    path = archive.master.path / "cut=3" / "topic=texts" / "records-00000.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:9] + bytes([data[9] ^ 255]) + data[10:])  # whoever reads it finds another sum
    summary = exported(archive, tmp_path / "out", from_us=END_US)
    assert (summary.cuts, summary.outside, summary.ledger_records) == (1, 2, 12)


# ---- interrupted, and run again ------------------------------------------------------------------------------------


def interrupted(archive: Archive, out: Path, format_: str, most: int) -> bool:
    """Run an export for some steps; return whether it ended before."""
    steps = run.steps(archive.master, declared(), Folder(out), Wanted("calls", format_))
    ended = sum(1 for _ in islice(steps, most)) < most
    steps.close()
    return ended


@pytest.mark.parametrize("format_", FORMATS)
def test_after_whatever_step_a_run_is_killed_the_next_one_makes_it_whole(
    archive: Archive, tmp_path: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "sync", lambda _: None)  # the disk is not what is killed here
    wanted = expected(BOTH, archive.sent)
    for most in count(1):
        out = tmp_path / str(most)
        if interrupted(archive, out, format_, most):
            break
        found = read(out, BOTH)  # every file that is there can be read, and holds no row twice
        assert all(found.count(row) == 1 and row in wanted for row in found)
        summary = exported(archive, out, format_)
        assert read(out, BOTH) == wanted
        assert sum(summary.records.values()) == len(wanted) and not (out / "_export" / "stage").exists()
    assert most > 15


def test_a_run_that_is_killed_again_and_again_goes_forward(archive: Archive, tmp_path: Path) -> None:
    most = next(n for n in count(1) if interrupted(archive, tmp_path / "out", "csv", n))
    assert most < 10
    assert read(tmp_path / "out", BOTH) == expected(BOTH, archive.sent)


def test_a_second_run_writes_nothing_and_a_new_cut_is_added(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(archive, out)
    before = files(out)
    again = exported(archive, out)
    assert (again.written, sum(again.records.values()), files(out)) == (0, 17, before)
    archive.archive([call(11, 7, START_US + 9 * HOUR_US)], through=7)
    more = exported(archive, out)
    assert (more.written, sum(more.records.values()), more.through_seq) == (1, 18, 7)
    assert read(out, BOTH) == expected(BOTH, archive.sent)


def test_a_file_that_was_removed_or_cut_short_is_written_again(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(archive, out)
    first, second, *_ = sorted(out.glob("topic=*/**/*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    exported(archive, out)
    assert read(out, BOTH) == expected(BOTH, archive.sent)


def test_few_files_are_open_at_a_time(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH_ROWS", 1)
    monkeypatch.setattr(run, "Hours", lambda *args: hours.Hours(*args, most=1))
    exported(archive, tmp_path / "out")
    assert read(tmp_path / "out", BOTH) == expected(BOTH, archive.sent)
    assert any(p.name.endswith("-001.parquet") for p in (tmp_path / "out").rglob("*.parquet"))


def test_what_waits_is_written_when_it_is_too_much(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BATCH_ROWS", 2)
    monkeypatch.setattr(hours, "WAITING_BYTES", 1)
    exported(archive, tmp_path / "out", "avro")
    assert read(tmp_path / "out", BOTH) == expected(BOTH, archive.sent)


# ---- refused -------------------------------------------------------------------------------------------------------


def reseal(archive: Archive, seq: int) -> None:
    """Write a cut's manifest anew, so that its sums fit whatever its files hold now."""
    cut = next(c for c in archive.master.cuts() if c.seq == seq)
    folder = archive.master.path / cut.folder
    held = {name: file for name, file in durable.sums(folder).items() if name != MANIFEST}
    (folder / MANIFEST).write_text(replace(cut, files=held).text(), encoding="utf-8")


def test_another_count_than_the_ledger_s_stops_it_and_names_the_row(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.archive([call(0, 1, START_US), call(1, 1, START_US), bad(2, 1, START_US, b"x")], through=1)
    (archive.master.path / "cut=1" / TALLY).write_text('{"1": [4, 1]}', encoding="utf-8")
    reseal(archive, 1)
    with pytest.raises(
        MasterRefused, match=r"cut=1: ledger seq 1: expected 4 records, 1 of them dead, .* got 3 and 1; "
    ):
        exported(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob("topic=*"))


def test_a_changed_file_of_the_master_is_named(archive: Archive, tmp_path: Path) -> None:
    path = archive.master.path / "cut=3" / "topic=texts" / "records-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(MasterRefused, match=r"cut=3/topic=texts/records-00000\.parquet: expected sha256"):
        exported(archive, tmp_path / "out")


def test_a_column_that_no_field_declares_is_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path, CALLS)
    archive.archive([call(0, 1, START_US)], through=1)
    fewer = parse(CALLS.text.replace("  tiny:   {type: decimal, scale: 9, optional: true}\n", ""), "fewer")
    steps = run.steps(archive.master, lambda _: fewer, Folder(tmp_path / "out"), Wanted("calls", "csv"))
    with pytest.raises(MasterRefused, match="expected the columns of its declaration, got the column 'f_tiny'"):
        list(steps)


def test_a_folder_with_something_else_is_refused(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(archive, out)
    with pytest.raises(UsageError, match="expected an export with format csv, got one with parquet; choose another"):
        exported(archive, out, "csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="mine: expected an empty folder or an earlier export, got other files"):
        exported(archive, tmp_path / "mine")


def test_an_export_of_another_master_is_refused(archive: Archive, tmp_path: Path) -> None:
    other = Archive(tmp_path / "other")
    other.archive([call(0, 1, START_US)], through=3)
    exported(other, tmp_path / "out")
    with pytest.raises(UsageError, match="another master's; choose another folder: --out"):
        exported(archive, tmp_path / "out")


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An instance without any store, whose master holds calls."""
    root, home = tmp_path / "root", tmp_path / "home"
    (root / "datasets").mkdir(parents=True)
    (root / "datasets" / "calls.yaml").write_text(CALLS.text, encoding="utf-8")
    monkeypatch.setenv("BRAID_HOME", str(home))
    monkeypatch.setenv("BRAID_ROOT", str(root))
    monkeypatch.setenv("BRAID_PORTS", "free")
    monkeypatch.chdir(tmp_path)
    made = Archive(home / "warehouse", CALLS)
    made.archive([call(0, 1, START_US), bad(1, 1, START_US, b"x")], through=1)
    return made


def test_the_command_needs_no_store(at_home: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "calls", "--format", "avro", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["ledger"] == {"records": 2, "dead": 1, "equal": True}
    assert (told["records"], told["topics"]["calls.in"]["dead"], told["through_seq"]) == (2, 1, 1)
    assert err == "calls: cut=1: 2 records\n"
    assert read(tmp_path / told["folder"], CALLS) == expected(CALLS, at_home.sent)
    assert main(["export", "calls", "--format", "csv", "--out", "mine", "--from", "2026-01-01T00:00:00Z"]) == 0
    assert "2 records appended from 2026-01-01T00:00:00Z" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "orc"], "--format: expected one of avro, csv, parquet, got 'orc'"),
        (
            ["--from", "yesterday"],
            "--from: expected an instant such as 2026-01-31T12:00:00Z, or now-1h, got 'yesterday'",
        ),
    ],
)
def test_a_wrong_word_is_named(
    at_home: Archive, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "calls", *words]) == 2
    assert capsys.readouterr().err == f"braid: {said}\n"


def test_a_folder_of_somebody_else_s_is_left_as_it_is(at_home: Archive, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    assert main(["export", "calls", "--out", "mine"]) == 2
    assert list(files(tmp_path / "mine")) == ["thesis.txt"]


def test_nothing_archived_is_said(at_home: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text_ = CALLS.text.replace("dataset: calls", "dataset: others")
    (tmp_path / "root" / "datasets" / "others.yaml").write_text(text_, encoding="utf-8")
    assert main(["export", "others"]) == 0
    assert capsys.readouterr().err == "others: nothing has been archived yet; braid batch others\n"
