"""CSV files as people write them: every line is a row or a named refusal, and nothing is dropped in silence."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from producer import tables
from producer.tables import DataError, Joined, Refusal, Row, read_folder, read_table

PATCHES = b"patch,kind\np1,7\np2,9\np3,7\n"
KINDS = b"kind,name\n7,soil\n9,crop\n"
NUMBERS = b"patch,mean\np1,0.1\np2,0.2\np3,0.3\n"


def folder(path: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def joined(path: Path, patches: bytes = PATCHES, kinds: bytes = KINDS, numbers: bytes = NUMBERS) -> Joined:
    return read_folder(folder(path, patches__csv=patches, kinds__csv=kinds, numbers__csv=numbers))


def values(data: Joined) -> list[dict[str, str] | str]:
    return [dict(row.values) if isinstance(row, Row) else str(row) for row in data.rows]


SOIL = {"patch": "p1", "kind": "7", "name": "soil", "mean": "0.1"}
CROP = {"patch": "p2", "kind": "9", "name": "crop", "mean": "0.2"}
LAST = {"patch": "p3", "kind": "7", "name": "soil", "mean": "0.3"}


def test_files_are_joined_on_their_ids_in_the_order_of_the_root(tmp_path: Path) -> None:
    data = joined(tmp_path)
    # numbers.csv comes first by name of the two files that reach all others
    assert values(data) == [SOIL, CROP, LAST]
    assert data.file_of == {"patch": "numbers.csv", "mean": "numbers.csv", "kind": "patches.csv", "name": "kinds.csv"}
    assert data.rows[1] == Row(CROP, {"numbers.csv": 3, "patches.csv": 3, "kinds.csv": 3})
    assert data.ignored == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n"),
        lambda text: re.sub(rb"([a-z0-9.]+)", rb'"\1"', text),
        lambda text: text.rstrip(b"\n"),
    ],
    ids=["BOM", "CRLF", "BOM, CRLF and blank lines", "everything quoted", "no last line end"],
)
def test_the_ways_of_writing_csv_make_no_difference(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    data = joined(tmp_path, change(PATCHES), change(KINDS), change(NUMBERS))
    assert values(data) == [SOIL, CROP, LAST]


def test_packed_and_plain_files_are_the_same_data(tmp_path: Path) -> None:
    plain = joined(tmp_path)
    (tmp_path / "kinds.csv").unlink()
    (tmp_path / "kinds.csv.gz").write_bytes(gzip.compress(KINDS))
    packed = read_folder(tmp_path)
    assert values(packed) == values(plain)
    assert packed.digest == plain.digest
    assert packed.file_of["name"] == "kinds.csv.gz"


def test_the_digest_changes_with_any_value(tmp_path: Path) -> None:
    before = joined(tmp_path).digest
    assert joined(tmp_path, numbers=NUMBERS.replace(b"0.3", b"0.30")).digest != before


def test_a_quoted_value_may_span_lines_and_later_lines_keep_their_numbers(tmp_path: Path) -> None:
    numbers = b'patch,mean\np1,"0.1\n and more"\np2,0.2,\np3,0.3\n'
    data = joined(tmp_path, numbers=numbers)
    assert values(data) == [
        {**SOIL, "mean": "0.1\n and more"},
        "numbers.csv line 4: expected 2 values as in the header, got 3",
        LAST,
    ]


def test_a_quote_never_closed_names_the_line_where_it_opens(tmp_path: Path) -> None:
    data = joined(tmp_path, numbers=b'patch,mean\np1,0.1\np2,"0.2\np3,0.3\n')
    assert values(data) == [SOIL, "numbers.csv line 3: expected CSV, got unexpected end of data (lines 3 to 4)"]
    assert [str(line) for line in data.ignored] == [
        "patches.csv line 3, column patch: 'p2' has no line in numbers.csv",
        "patches.csv line 4, column patch: 'p3' has no line in numbers.csv",
    ]


def test_a_broken_line_refuses_itself_and_the_row_that_needs_it(tmp_path: Path) -> None:
    data = joined(tmp_path, kinds=b"kind,name\n7\n9,crop\n")
    assert values(data) == [
        "patches.csv line 2, column kind: '7' has no line in kinds.csv",
        CROP,
        "patches.csv line 4, column kind: '7' has no line in kinds.csv",
    ]
    assert [str(line) for line in data.ignored] == ["kinds.csv line 2: expected 2 values as in the header, got 1"]


def test_bytes_that_are_not_utf8_refuse_their_own_line(tmp_path: Path) -> None:
    data = joined(tmp_path, numbers=NUMBERS.replace(b"0.2", b"0\xff2"))
    assert values(data) == [SOIL, "numbers.csv line 3, column mean: not valid UTF-8", LAST]


def test_an_id_written_twice_counts_once(tmp_path: Path) -> None:
    data = joined(tmp_path, kinds=KINDS + b"7,sand\n", numbers=NUMBERS + b"p1,0.9\n")
    assert values(data) == [SOIL, CROP, LAST, "numbers.csv line 5, column patch: 'p1' stands in line 2 already"]
    assert [str(line) for line in data.ignored] == ["kinds.csv line 4, column kind: '7' stands in line 2 already"]


def test_a_line_that_belongs_to_no_row_is_named(tmp_path: Path) -> None:
    data = joined(tmp_path, patches=PATCHES + b"p4,9\n")
    assert values(data) == [SOIL, CROP, LAST]
    assert [str(line) for line in data.ignored] == ["patches.csv line 5, column patch: 'p4' has no line in numbers.csv"]


def test_a_kind_without_rows_is_no_refusal(tmp_path: Path) -> None:
    assert joined(tmp_path, kinds=KINDS + b"6,mixture\n").ignored == ()


def test_one_file_alone_needs_no_id(tmp_path: Path) -> None:
    data = read_folder(folder(tmp_path, trips__csv=b"zone,fare\n1,2.50\n1,2.50\n"))
    assert values(data) == [{"zone": "1", "fare": "2.50"}] * 2


def test_a_header_alone_gives_no_rows(tmp_path: Path) -> None:
    data = joined(tmp_path, patches=b"patch,kind\n", numbers=b"patch,mean\n")
    assert data.rows == ()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "expected at least one .csv or .csv.gz file, got none; name the folder with --data DIR"),
        ({"a__csv": b""}, "a.csv: expected a header line, got an empty file"),
        ({"a__csv": b"\xef\xbb\xbf"}, "a.csv: expected a header line, got an empty file"),
        ({"a__csv": b"id,,x\n"}, "a.csv line 1: expected columns of different names, got ['id', '', 'x']"),
        ({"a__csv": b"id,x,x\n"}, "a.csv line 1: expected columns of different names, got ['id', 'x', 'x']"),
        ({"a__csv": b"id,x\n", "b__csv": b"no,y\n"}, "expected one file whose columns hold the id of every other, got "
         "a.csv (id id), b.csv (id no)"),
        ({"a__csv": b"id,x\n", "b__csv": b"id,x\n"}, "expected column 'x' in one file, got it in a.csv and b.csv"),
        ({"a__csv": b"id\n", "a__csv__gz": b""}, "expected one of a.csv and a.csv.gz, got both; remove one"),
        ({"a__csv__gz": b"id,x\n"}, "expected a readable CSV file, got Not a gzipped file (b'id')"),
        ({"a__csv__gz": gzip.compress(b"id,x\n" * 999)[:-9]}, "expected a readable CSV file, got Compressed file ended "
         "before the end-of-stream marker was reached"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    with pytest.raises(DataError, match=re.escape(text)) as raised:
        read_folder(folder(tmp_path, **files))
    assert raised.value.exit_code == 2


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: expected a folder of CSV files, got none; name it with --data DIR"):
        read_folder(tmp_path / "nowhere")


def test_a_packed_file_may_not_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 10_000)
    path = folder(tmp_path, bomb__csv__gz=gzip.compress(b"id,x\n" + b"1,2\n" * 100_000)) / "bomb.csv.gz"
    with pytest.raises(DataError, match=r"bomb.csv.gz: expected at most 10000 characters of text, got more; split"):
        read_table(path)


def test_a_value_beyond_the_limit_of_csv_refuses_its_line(tmp_path: Path) -> None:
    data = read_folder(folder(tmp_path, a__csv=b"id,x\n1," + b"x" * 200_000 + b"\n2,y\n"))
    assert isinstance(data.rows[0], Refusal)
    assert values(data) == [
        "a.csv line 2: expected CSV, got field larger than field limit (131072)",
        {"id": "2", "x": "y"},
    ]


def test_a_refusal_can_be_printed_whatever_stood_in_the_file() -> None:
    text = str(Refusal("a.csv", 2, "x", "got 'caf\udce9'"))
    assert text == "a.csv line 2, column x: got 'caf\\udce9'"
    text.encode("utf-8")


def test_a_header_names_the_field_that_it_says(tmp_path: Path) -> None:
    data = read_folder(folder(tmp_path, trips__csv=b"Trip ID,PULocationID,fare\n7,142,9.5\n"))
    assert values(data) == [{"trip_id": "7", "pu_location_id": "142", "fare": "9.5"}]


def test_two_headers_of_one_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_folder(folder(tmp_path, trips__csv=b"UserID,user_id\n7,8\n"))
    assert str(raised.value) == "trips.csv line 1: expected columns of different names, got ['UserID', 'user_id']"


def test_one_file_is_read_without_its_neighbours(tmp_path: Path) -> None:
    folder(tmp_path, patches__csv=PATCHES, other__csv=b"what,ever\n1,2\n")
    data = read_folder(tmp_path / "patches.csv")
    assert values(data) == [{"patch": "p1", "kind": "7"}, {"patch": "p2", "kind": "9"}, {"patch": "p3", "kind": "7"}]


def test_the_first_lines_of_a_file_are_read_alone(tmp_path: Path) -> None:
    folder(tmp_path, patches__csv=PATCHES + b'p4,"never closed')
    assert [line.number for line in read_table(tmp_path / "patches.csv", 2).lines if not isinstance(line, Refusal)] == [
        2,
        3,
    ]
