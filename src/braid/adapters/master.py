"""The master on disk: every record up to a cut, immutable, in folders `cut=<seq>` that continue one another.

A folder holds the records of the ledger rows after the cut before it, up to and with its own seq, as Parquet files by
topic, and a `manifest.json`: the range, the definition that parsed it, the sha256 of every file, and the sha256 of the
manifest before it; and a `tally.json` of how many records each ledger row has in it. So the newest manifest vouches for all of them, as the ledger's head does for the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from braid import ledger
from braid.adapters import durable
from braid.adapters.durable import FileSum
from braid.errors import MasterRefused
from braid.ledger import LedgerRow, Offsets

MANIFEST, TALLY = "manifest.json", "tally.json"
Tally: TypeAlias = Mapping[int, tuple[int, int]]  # by seq: all records, and the dead ones among them
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Cut:
    """One folder of the master.

    Attributes
    ----------
    after, seq : the ledger rows it holds, after < row <= seq
    start, end : the offsets it covers
    definition : hash of the declaration that parsed its columns
    records : how many records it holds, over all topics
    previous : sha256 of the manifest before it, empty for the first
    files : by path within the folder (`topic=<name>/…`), what each must be
    """

    dataset: str
    after: int
    seq: int
    start: Offsets
    end: Offsets
    definition: str
    records: int
    previous: str
    files: Mapping[str, FileSum]

    @property
    def folder(self) -> str:
        """Name of the folder in the master."""
        return f"cut={self.seq}"

    def text(self) -> str:
        """Return the manifest as it stands in the file."""
        plain = asdict(self) | {"start": ledger.text_of(self.start), "end": ledger.text_of(self.end), "format": FORMAT}
        return durable.json_text(plain)

    @property
    def digest(self) -> str:
        """Sha256 of the manifest: what the next one holds as `previous`."""
        return hashlib.sha256(self.text().encode()).hexdigest()


def topic_folder(topic: str) -> str:
    """Return the name of the folder of one topic's files within a cut."""
    return f"topic={topic}"


class Master:
    """The cuts of one dataset under `<root>/master/<dataset>`."""

    def __init__(self, root: Path, dataset: str) -> None:
        self.dataset = dataset
        self.path = root / "master" / dataset

    def cuts(self) -> list[Cut]:
        """Return the cuts in order, each continuing the one before.

        Raises
        ------
        MasterRefused
            A manifest is missing or unreadable, or the chain is broken.
        """
        found: list[Cut] = []
        for seq in sorted(int(p.name.removeprefix("cut=")) for p in self.path.glob("cut=*")):
            cut = self._read(seq)
            before = found[-1] if found else None
            expected = (before.seq, dict(before.end), before.digest) if before else (0, dict(cut.start), "")
            if (cut.after, dict(cut.start), cut.previous) != expected:
                raise MasterRefused(
                    f"{self.path / cut.folder}: expected it to continue after seq {expected[0]} with manifest "
                    f"{expected[2] or 'none'}, got after seq {cut.after} with {cut.previous or 'none'}; "
                    "restore the missing folder, or move this one and all later ones aside: they are archived again"
                )
            found.append(cut)
        return found

    def check_ledger(self, cut: Cut, row: LedgerRow) -> None:
        """Check that the newest cut ends where its ledger row ends; through the chain that holds for all.

        Raises
        ------
        MasterRefused
            The ledger says otherwise: one of the two was restored from another day.
        """
        if (cut.seq, dict(cut.end)) != (row.seq, dict(row.end)):
            raise MasterRefused(
                f"{self.path / cut.folder}: expected to end at {ledger.text_of(row.end)} like ledger seq {row.seq}, "
                f"got {ledger.text_of(cut.end)}; move the folders that the ledger does not know aside: "
                "they are archived again"
            )

    def check_files(self, cuts: Sequence[Cut]) -> int:
        """Compare the sha256 of every file with its manifest; return how many bytes were read.

        Raises
        ------
        MasterRefused
            Names the first file that is missing or differs, and both sums.
        """
        for cut in cuts:
            wrong = durable.first_difference(self.path / cut.folder, cut.files)
            if wrong:
                raise MasterRefused(f"{wrong}; restore {cut.folder} from a backup, or move it and all later ones aside")
        return sum(f.bytes for cut in cuts for f in cut.files.values())

    def files(self, cuts: Sequence[Cut], topic: str) -> list[Path]:
        """Return one topic's files of some cuts."""
        prefix = topic_folder(topic) + "/"
        return [self.path / c.folder / name for c in cuts for name in sorted(c.files) if name.startswith(prefix)]

    def tally(self, cuts: Sequence[Cut]) -> dict[int, tuple[int, int]]:
        """Return how many records, and how many dead ones, some cuts hold of each seq; their files were checked."""
        found: dict[int, tuple[int, int]] = {}
        for cut in cuts:
            held = json.loads((self.path / cut.folder / TALLY).read_text(encoding="utf-8"))
            found |= {int(seq): (records, dead) for seq, (records, dead) in held.items()}
        return found

    def _read(self, seq: int) -> Cut:
        path = self.path / f"cut={seq}" / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
            cut = _cut_of(json.loads(text))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MasterRefused(f"{path}: expected a manifest, got {error}; restore it from a backup") from error
        if cut.text() != text or (cut.dataset, cut.seq) != (self.dataset, seq):
            raise MasterRefused(f"{path}: expected a manifest of {self.dataset} cut {seq} as written, got other text")
        return cut


def tally_text(tally: Tally) -> str:
    """Return the text of a cut's tally."""
    return json.dumps({str(seq): list(counts) for seq, counts in sorted(tally.items())})


def _cut_of(plain: dict[str, Any]) -> Cut:
    if plain.pop("format") != FORMAT:
        raise ValueError(f"another format than {FORMAT}")
    files = {name: FileSum(**held) for name, held in plain.pop("files").items()}
    start, end = (ledger.offsets_of(plain.pop(key)) for key in ("start", "end"))
    return Cut(**plain, start=start, end=end, files=files)
