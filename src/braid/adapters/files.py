"""Generations as files: Parquet by view and part, and one manifest a generation that vouches for all of it.

    views/<dataset>/<view>/gen=<g>/part=<p>/rows.parquet
    views/<dataset>/gen=<g>.json
    views/<dataset>/audit-<g>.json

A part whose rows are those of the generation before is not written again: the manifest names the folder where it
already lies, so publishing costs what changed and not the history. What a manifest does not name does not exist.

A generation is written from all its states, or onto the one before from the states of what came since (`add`): then
only the parts that these touch are read, merged and written. Both make the same manifest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from braid import generations, hiveql, ledger
from braid.adapters import durable
from braid.adapters.durable import FileSum
from braid.aggregates import State
from braid.declaration import Declaration, ViewSpec
from braid.errors import AuditFailed, StoreUnavailable
from braid.generations import Sums
from braid.ledger import Current, Offsets
from braid.views import Key, View, merge_views

FORMAT = 2  # since the sum of a view is one over the sums of its parts
ROWS = "rows.parquet"
REPORT = "audit-"
_ARROW = {"bigint": pa.int64(), "string": pa.string(), "double": pa.float64(), "decimal(38,0)": pa.decimal128(38, 0)}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a view: its folder below the root, what its rows add up to, and the file's sum."""

    path: str
    sums: Sums
    file: FileSum


@dataclass(frozen=True, slots=True)
class ViewFiles:
    """One view of a generation: what it adds up to, how its columns are typed, and its parts by name."""

    sums: Sums
    columns: tuple[tuple[str, str], ...]
    parts: Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation: the cut, the definition, the folders of the master it was computed from, its views.

    `previous` is the generation that was served when this one was made: the chain of those that were published.
    """

    dataset: str
    gen: int
    previous: int
    cut_seq: int
    cut: Offsets
    definition: str
    master: tuple[str, ...]
    views: Mapping[str, ViewFiles]

    def plain(self) -> dict[str, Any]:
        """Return the manifest as JSON holds it."""
        return asdict(self) | {"cut": ledger.text_of(self.cut), "format": FORMAT}


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publication was: `current` as it was set, the generation served before, how many records it counted.

    `current.audit` says what every view adds up to, which ledger rows were compared and which could not be.
    """

    current: Current
    previous: int
    records: int

    def plain(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        cut = ledger.text_of(self.current.cut)
        current = asdict(self.current) | {"cut": cut, "audit": json.loads(self.current.audit)}
        return {"format": FORMAT, "previous": self.previous, "records": self.records, "current": current}


class FileGenerations:
    """The port `Generations` on the files of one dataset, and how a generation is written and removed.

    Parameters
    ----------
    root : the warehouse, the one place where it is named
    declaration : of the dataset
    """

    def __init__(self, root: Path, declaration: Declaration) -> None:
        self.root = root
        self.dataset = declaration.dataset
        self.path = root / "views" / declaration.dataset

    # ---- reading

    def view(self, current: Current, view: ViewSpec) -> View:
        """Return one view of a generation (of generation 0: the empty view), checked against `current.audit`.

        Raises
        ------
        AuditFailed
            A file or the rows are not those that were published.
        StoreUnavailable
            The generation has no manifest here.
        """
        if current.gen == 0:
            return {}
        held = self.manifest(current.gen).views.get(view.name, ViewFiles(generations.joined({}), (), {}))
        found: dict[tuple[int, Key], State] = {}
        for part in held.parts.values():
            self._check_file(current.gen, part)
            found.update(self._rows(view, part))
        generations.check(current, view, found, f"files of {self.path / f'gen={current.gen}.json'}")
        return found

    def manifest(self, gen: int) -> Manifest:
        """Return the manifest of a generation; StoreUnavailable when there is none."""
        path = self._manifest_path(gen)
        try:
            return _manifest_of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable(
                f"{path}: expected the manifest of generation {gen}, got {error}; run the batch again"
            ) from error

    def published(self, gen: int, base: Mapping[str, int] | None = None) -> Current:
        """Return a generation as it was published, out of its manifest; 0 is the empty one, cut at genesis.

        Parameters
        ----------
        base : `generations.base_of` a generation of the same declaration: a manifest does not hold it

        Raises
        ------
        StoreUnavailable
            There is no manifest: it is no longer kept, or never was.
        """
        if gen == 0:
            return Current(0, 0, {}, "")
        held = self.manifest(gen)
        audit = generations.audit_text(
            {name: view.sums for name, view in held.views.items()}, generations.Audited(), base
        )
        return Current(gen, held.cut_seq, held.cut, held.definition, audit)

    def publication(self, gen: int) -> Publication | None:
        """Return the report of a publication; None when there is none that can be read."""
        try:
            return _publication_of(json.loads(self._report_path(gen).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def publications(self) -> list[Publication]:
        """Return every report, of generations that are no longer kept too, the oldest first."""
        names = (path.name.removeprefix(REPORT).removesuffix(".json") for path in self.path.glob(f"{REPORT}*.json"))
        found = (self.publication(gen) for gen in sorted(int(name) for name in names if name.isdecimal()))
        return [report for report in found if report is not None]

    def numbers(self) -> set[int]:
        """Return every generation number that any file here carries, published or left by a killed run."""
        names = [p.name.removesuffix(".json") for p in self.path.glob("gen=*.json")]
        names += [p.name for p in self.path.glob("*/gen=*")]
        return {int(name.removeprefix("gen=")) for name in names}

    def chain(self, gen: int, length: int) -> list[int]:
        """Return up to `length` generations that were published one after the other, the newest, `gen`, first."""
        found: list[int] = []
        while gen > 0 and len(found) < length and (held := self._readable(gen)):
            found.append(gen)
            gen = held.previous
        return found

    def damage(self, gen: int) -> str | None:
        """Return what is wrong with the first file of a generation that is not as it was written, None when all are."""
        try:
            held = self.manifest(gen)
        except StoreUnavailable as error:
            return str(error)
        parts = (part for view in held.views.values() for part in view.parts.values())
        found = (durable.first_difference(self.root / part.path, {ROWS: part.file}) for part in parts)
        return next((wrong for wrong in found if wrong), None)

    def location(self, part: Part) -> str:
        """Return the location of a part's folder, for Hive."""
        return _location(self.root / part.path)

    def view_location(self, spec: ViewSpec) -> str:
        """Return the location of a view's folder of generations, for Hive."""
        return _location(self.path / spec.name)

    # ---- writing

    def write(self, new: Manifest, specs: Mapping[str, ViewSpec], states: Mapping[str, View]) -> Manifest:
        """Write a generation whose number was never used; its manifest, last, makes it exist.

        Parameters
        ----------
        new : Manifest without views
        specs, states : by view name

        Returns
        -------
        Manifest, with the views; parts equal to those of `new.previous` point to where they already lie

        Raises
        ------
        FileExistsError
            The number is taken.
        """
        previous = self._readable(new.previous)
        # equal integers of two declarations may mean other numbers: what a measure is of, or its scale, has changed
        before = previous.views if previous and previous.definition == new.definition else {}
        return self._write(new, lambda stage, name: self._whole(stage, new.gen, specs[name], states[name], before.get(name)), states)  # fmt: skip

    def add(self, new: Manifest, specs: Mapping[str, ViewSpec], states: Mapping[str, View]) -> Manifest:
        """Write a generation that is the one before and some more states, as `write` would all of its states.

        Parameters
        ----------
        new : Manifest without views; `new.previous` is of the same definition
        specs, states : by view name: the states of what came since, which share no event with the one before

        Raises
        ------
        StoreUnavailable
            The generation before cannot be read.
        AuditFailed
            A file of it is not as it was written.
        FileExistsError
            The number is taken.
        """
        before = self.manifest(new.previous).views
        return self._write(new, lambda stage, name: self._added(stage, new, specs[name], states[name], before[name]), states)  # fmt: skip

    def _write(self, new: Manifest, view: Callable[[Path, str], ViewFiles], names: Iterable[str]) -> Manifest:
        stage = durable.stage(self.path, f"gen={new.gen}")
        found = {name: view(stage, name) for name in names}
        durable.sync_tree(stage)
        for name in found:
            if (stage / name).exists():
                durable.rename_new(stage / name, self.path / name / f"gen={new.gen}")
        stage.rmdir()
        done = Manifest(new.dataset, new.gen, new.previous, new.cut_seq, new.cut, new.definition, new.master, found)
        durable.write_new(self._manifest_path(new.gen), done.plain())
        return done

    def write_publication(self, report: Publication) -> None:
        """Write the report of a publication, before anybody can see it; it stays when the generation is removed."""
        durable.write_new(self._report_path(report.current.gen), report.plain())

    def remove(self, gens: Collection[int], keep: Collection[int]) -> None:
        """Remove generations, but for the parts that a generation of `keep` points to.

        The manifest goes first, so that nothing half removed can be read.
        """
        used = {p.path for gen in keep for v in self.manifest(gen).views.values() for p in v.parts.values()}
        for gen in gens:
            self._manifest_path(gen).unlink(missing_ok=True)
            for folder in self.path.glob(f"*/gen={gen}"):
                for part in folder.iterdir():
                    if part.relative_to(self.root).as_posix() not in used:
                        shutil.rmtree(part)
                if not any(folder.iterdir()):
                    folder.rmdir()

    def _whole(self, stage: Path, gen: int, spec: ViewSpec, view: View, before: ViewFiles | None) -> ViewFiles:
        held = before.parts if before and before.columns == columns_of(spec) else {}
        parts = {}
        for name, rows in hiveql.parts_of(spec, view).items():
            old, sums = held.get(name), generations.sums_of(rows)
            if old and old.sums == sums and durable.first_difference(self.root / old.path, {ROWS: old.file}) is None:
                parts[name] = old
            else:
                parts[name] = self._write_part(stage, gen, spec, name, rows, sums)
        return _view_files(spec, parts)

    def _added(self, stage: Path, new: Manifest, spec: ViewSpec, more: View, before: ViewFiles) -> ViewFiles:
        parts = dict(before.parts)
        for name, fresh in hiveql.parts_of(spec, more).items():
            old, rows = parts.get(name), fresh
            if old is not None:
                self._check_file(new.previous, old)
                rows = merge_views([self._rows(spec, old), fresh])
            parts[name] = self._write_part(stage, new.gen, spec, name, rows, generations.sums_of(rows))
        return _view_files(spec, parts)

    def _write_part(self, stage: Path, gen: int, spec: ViewSpec, name: str, rows: View, sums: Sums) -> Part:
        folder = stage / spec.name / f"part={name}"
        path = (self.path / spec.name / f"gen={gen}" / folder.name).relative_to(self.root).as_posix()
        return Part(path, sums, _write_rows(folder, spec, {place: rows[place] for place in sorted(rows)}))

    def _check_file(self, gen: int, part: Part) -> None:
        wrong = durable.first_difference(self.root / part.path, {ROWS: part.file})
        if wrong:
            raise AuditFailed(f"generation {gen}: {wrong}; it is not served: run the batch again")

    def _rows(self, spec: ViewSpec, part: Part) -> dict[tuple[int, Key], State]:
        names = [c.name for c in hiveql.exact_columns(spec)]
        # one file by its own path: read as a dataset, its folders would become columns
        table = pq.ParquetFile(self.root / part.path / ROWS).read(names)
        rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        return dict(hiveql.place_of(spec, row) for row in rows)

    def _readable(self, gen: int) -> Manifest | None:
        try:
            return self.manifest(gen)
        except StoreUnavailable:
            return None

    def _report_path(self, gen: int) -> Path:
        return self.path / f"{REPORT}{gen}.json"

    def _manifest_path(self, gen: int) -> Path:
        return self.path / f"gen={gen}.json"


def tally(paths: Iterable[Path]) -> dict[int, tuple[int, int]]:
    """Return how many records Parquet files of the master hold by seq, all and dead: by another reader than Spark."""
    found: dict[int, tuple[int, int]] = {}
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["seq", "reason"]):
            counts = pa.Table.from_batches([batch]).group_by("seq").aggregate([([], "count_all"), ("reason", "count")])
            for seq, records, dead in zip(
                *(counts[c].to_pylist() for c in ("seq", "count_all", "reason_count")), strict=True
            ):
                before = found.get(seq, (0, 0))
                found[seq] = (before[0] + records, before[1] + dead)
    return found


def archived(paths: Iterable[Path], partition: int, offset: int) -> list[tuple[int, int, str | None, bytes | None]]:
    """Return (seq, append_us, reason, raw) of the records at one place, out of some files of the master.

    More than one only when the topic was created again.
    """
    found: list[tuple[int, int, str | None, bytes | None]] = []
    here = [("partition", "=", partition), ("offset", "=", offset)]
    for path in paths:
        table = pq.read_table(path, columns=["seq", "append_us", "reason", "raw"], filters=here, partitioning=None)
        found += [(row["seq"], row["append_us"], row["reason"], row["raw"]) for row in table.to_pylist()]
    return found


def _location(path: Path) -> str:
    # a Hadoop path, not a URI: it would take %20 for three letters
    return f"file://{path}"


def columns_of(spec: ViewSpec) -> tuple[tuple[str, str], ...]:
    return tuple((c.name, c.type) for c in hiveql.columns(spec))


def _view_files(spec: ViewSpec, parts: Mapping[str, Part]) -> ViewFiles:
    return ViewFiles(generations.joined({name: part.sums for name, part in parts.items()}), columns_of(spec), parts)


def _write_rows(folder: Path, spec: ViewSpec, rows: View) -> FileSum:
    folder.mkdir(parents=True)
    columns = zip(*(hiveql.row_of(spec, place, state) for place, state in rows.items()), strict=True)
    arrays = [pa.array(held, _ARROW[c.type]) for held, c in zip(columns, hiveql.columns(spec), strict=True)]
    pq.write_table(pa.table(arrays, [c.name for c in hiveql.columns(spec)]), folder / ROWS, compression="zstd")
    return durable.sum_of(folder / ROWS)


def _manifest_of(plain: dict[str, Any]) -> Manifest:
    if plain.pop("format") != FORMAT:
        raise ValueError(f"another format than {FORMAT}")
    views = {name: _view_of(held) for name, held in plain.pop("views").items()}
    cut, master = ledger.offsets_of(plain.pop("cut")), tuple(plain.pop("master"))
    return Manifest(**plain, cut=cut, master=master, views=views)


def _publication_of(plain: dict[str, Any]) -> Publication:
    current = plain["current"]
    current |= {"cut": ledger.offsets_of(current["cut"]), "audit": json.dumps(current["audit"], sort_keys=True)}
    return Publication(Current(**current), int(plain["previous"]), int(plain["records"]))


def _view_of(plain: dict[str, Any]) -> ViewFiles:
    parts = {k: Part(p["path"], Sums(**p["sums"]), FileSum(**p["file"])) for k, p in plain["parts"].items()}
    return ViewFiles(Sums(**plain["sums"]), tuple((a, b) for a, b in plain["columns"]), parts)
