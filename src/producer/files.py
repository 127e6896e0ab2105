"""Which files a load reads, and as what: kinds, topics, tables that join, parts that follow one another.

A path is a file, a folder or a pattern (`**` too). Of a folder the files in it count, and those of folders in it that are
called like a topic or `key=value`, as other programs part their data. Which topic a file's rows belong to says `--topic`, else the
dataset's only topic, else the nearest folder that is called like one.

CSV files join on their ids by the producer's rule (`producer.tables`). Files of the same columns are one table in parts; and where
every file has by itself all that a record needs, nothing has to join, and each is read for itself, whatever else is in it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from braid.adapters import parquet
from braid.declaration import Topic
from producer.sources import made_of
from producer.tables import DataError, Table, ordered, owners, read_table

Kind = Literal["csv", "json", "parquet"]
KINDS: Mapping[str, Kind] = {
    ".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_LOOKED_AT = 1 << 16  # bytes of a file before anything is sent
AT_ONCE_BYTES = 256 << 20  # of files that one Spark job reads: after each the journal is written
AT_ONCE_FILES = 32


class Part(NamedTuple):
    """One file as it was found: `size` and `changed_ns` tell whether it is still the same."""

    path: Path
    kind: Kind
    columns: tuple[str, ...]
    size: int
    changed_ns: int

    @property
    def mark(self) -> tuple[str, int, int]:
        """What it is told by when a load is run again."""
        return str(self.path), self.size, self.changed_ns


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one topic: the parts of a table in their order, and the tables that join it.

    Attributes
    ----------
    made : the field that the timeline fills, None when the files have every event's time
    file_of : the table of every column, by the name of its first part
    """

    topic: Topic
    parts: tuple[Part, ...]
    others: tuple[tuple[Part, ...], ...] = ()
    made: str | None = None
    file_of: Mapping[str, str] | None = None

    @property
    def kind(self) -> Kind:
        """Of its files."""
        return self.parts[0].kind

    def marks(self) -> list[str]:
        """Return by what each part is told, with everything that decides the records made of it."""
        beside = [part.mark for table in self.others for part in table]
        before: list[tuple[str, int, int]] = []
        found = []
        for part in self.parts:
            # the made times of a part follow from those before it
            words = [self.topic.name, part.mark, beside, before if self.made else []]
            found.append(hashlib.sha256(json.dumps(words).encode()).hexdigest())
            before.append(part.mark)
        return found


def found(words: Sequence[str], topics: Sequence[Topic], named: str = "") -> tuple[list[Source], list[str]]:
    """Return what to read, and what was passed over, in words.

    Parameters
    ----------
    words : paths and patterns
    named : the topic that all belongs to, empty when the files say it

    Raises
    ------
    DataError
        A path is none, a file is not what its name says, lacks columns, or does not join; nothing is there to read.
    """
    known = {topic.name: topic for topic in topics}
    if named and named not in known:
        raise DataError(f"--topic: expected one of {', '.join(known)}, got {named!r}")
    passed: list[str] = []
    paths = list(dict.fromkeys(path.resolve() for word in words for path in _paths(word, known, passed)))
    if not paths:
        raise DataError(f"{', '.join(words)}: expected at least one .csv, .jsonl or .parquet file, got none")
    by_topic: dict[str, list[Part]] = {}
    for path in paths:
        by_topic.setdefault(named or _topic_of(path, known), []).append(_part(path))
    sources: list[Source] = []
    for name in (topic.name for topic in topics if topic.name in by_topic):
        parts = by_topic[name]
        for kind in ("json", "parquet"):
            alike = tuple(part for part in parts if part.kind == kind)
            sources += [_checked(Source(known[name], alike))] if alike else []
        sources += _tables(known[name], [p for p in parts if p.kind == "csv"])
    return sources, passed


def at_once(parts: Iterable[tuple[int, Part]]) -> Iterator[list[int]]:
    """Yield places of parts that one job reads, in their order: so many bytes or files at most, and at least one."""
    some: list[int] = []
    size = 0
    for place, part in parts:
        if some and (size + part.size > AT_ONCE_BYTES or len(some) == AT_ONCE_FILES):
            yield some
            some, size = [], 0
        some.append(place)
        size += part.size
    if some:
        yield some


# ---- paths ---------------------------------------------------------------------------------------------------------


def kind_of(path: Path) -> Kind | None:
    """Return what a file is by its name, None when that says nothing that can be read.

    Examples
    --------
    >>> [kind_of(Path(name)) for name in ("a.csv.gz", "b.jsonl", "c.parquet", "c.parquet.gz", "notes.txt")]
    ['csv', 'json', 'parquet', None, None]
    """
    kind = KINDS.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    return None if kind == "parquet" and path.name.endswith(".gz") else kind


def _paths(word: str, topics: Iterable[str], passed: list[str]) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        yield from _folder(path, frozenset(topics), passed)
    elif path.exists():
        if kind_of(path) is None:
            raise DataError(
                f"{word}: expected .csv, .jsonl (also .ndjson, .json; each of these also .gz) or .parquet, got {path.name!r}"
            )
        yield path
    else:
        some = sorted(_matching(word)) if any(sign in word for sign in "*?[") else []
        if not some:
            raise DataError(f"{word}: expected a file, a folder or a pattern that finds some, got nothing of that name")
        for one in some:
            yield from _folder(one, frozenset(topics), passed) if one.is_dir() else _named(one, passed)


def _matching(word: str) -> Iterable[Path]:
    whole = Path(word).expanduser()
    root = Path(whole.anchor or ".")
    return root.glob(str(whole.relative_to(root) if whole.anchor else whole))


def _folder(path: Path, topics: frozenset[str], passed: list[str]) -> Iterator[Path]:
    for one in sorted(path.iterdir()):
        if one.name.startswith((".", "_")):  # what other programs keep for themselves
            continue
        if one.is_dir():
            if one.name in topics or "=" in one.name:
                yield from _folder(one, topics, passed)
            else:
                passed.append(f"{one}/: a folder of its own; name it to have it read")
        else:
            yield from _named(one, passed)


def _named(path: Path, passed: list[str]) -> Iterator[Path]:
    if kind_of(path) is None:
        passed.append(f"{path}: neither .csv nor .jsonl nor .parquet")
    else:
        yield path


def _topic_of(path: Path, topics: Mapping[str, Topic]) -> str:
    if len(topics) == 1:
        return next(iter(topics))
    near = next((folder.name for folder in path.parents if folder.name in topics), None)
    if near is None:
        raise DataError(f"{path}: expected a folder called like a topic, {', '.join(topics)}, or --topic, got neither")
    return near


# ---- files ---------------------------------------------------------------------------------------------------------


def _part(path: Path) -> Part:
    kind = kind_of(path) or "csv"
    try:
        stat = path.stat()
        if kind == "csv":
            columns = read_table(path, 0).columns
        elif kind == "parquet":
            columns = parquet.fields(path)
        else:
            columns = ()
            _check_lines(path)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error}") from error
    return Part(path, kind, columns, stat.st_size, stat.st_mtime_ns)


def _check_lines(path: Path) -> None:
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            begun = file.read(_LOOKED_AT).lstrip()[:1]
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a readable file of JSON lines, got {error}") from error
    if begun == b"[":
        raise DataError(f"{path}: expected JSON lines, a record each, got an array; write its items so: jq -c '.[]'")
    if begun not in {b"{", b""}:
        raise DataError(f"{path}: expected JSON lines, a record each, got {begun!r} in the beginning")


def _checked(source: Source) -> Source:
    """Check that files whose columns have types have those that every record needs."""
    for part in source.parts:
        lacking = [f.name for f in source.topic.fields.values() if not f.optional and f.name not in part.columns]
        if part.kind == "parquet" and lacking:
            raise DataError(
                f"{part.path}: expected a column {lacking[0]!r}, which every event of {source.topic.name} needs, "
                f"got {', '.join(part.columns)}"
            )
    return source


def _tables(topic: Topic, parts: Sequence[Part]) -> list[Source]:
    """Return the sources that some CSV files are."""
    if not parts:
        return []
    needed = {f.name for f in topic.fields.values() if not f.optional}
    if all(needed <= set(part.columns) for part in parts):
        every = dict.fromkeys(column for part in parts for column in part.columns)
        return [Source(topic, tuple(parts), file_of=dict.fromkeys(every, parts[0].path.name))]

    def alike(part: Part) -> tuple[str, list[str]]:
        return part.columns[0], sorted(part.columns)

    groups = [tuple(group) for _, group in groupby(sorted(parts, key=lambda p: (alike(p), str(p.path))), key=alike)]
    groups.sort(key=lambda group: group[0].path.name)  # as the producer finds them, by name
    named = [(Table(group[0].path.name, group[0].columns, ()), group) for group in groups]
    order = ordered([table for table, _ in named])
    of = {table.file: group for table, group in named}
    if len(of) < len(named):
        names = ", ".join(str(group[0].path) for _, group in named)
        raise DataError(f"expected files of different names where they join, got {names}; load them one by one")
    file_of = owners(order)
    made = made_of(topic, file_of)
    return [Source(topic, of[order[0].file], tuple(of[table.file] for table in order[1:]), made, file_of)]
