"""Files that come into a folder of folders together, or one after another to the end: never some of them for good.

One rename cannot move files into several folders. So they are written aside, then a note of them all is written beside
them: from here on whoever comes next goes forward. Each file is renamed into its place, the note last, under the name
by which it vouches for them. Without the note whoever comes next removes what stands aside.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from braid.adapters import durable

_NOTE = "note.json"


class Noted:
    """A folder into which files come by note.

    Parameters
    ----------
    path : the folder
    kept : a folder in it that its readers pass over: the notes, and `stage`, where files are written
    name_of : the file name of a note; a note holds `files`, by path within the folder, each with its `bytes`
    """

    def __init__(self, path: Path, kept: Path, name_of: Callable[[Mapping[str, Any]], str]) -> None:
        self._path = path
        self._kept = kept
        self._stage = kept / "stage"
        self._name_of = name_of

    def recover(self) -> None:
        """Finish what a killed run had noted, and remove what it had not."""
        if (self._stage / _NOTE).exists():
            note = json.loads((self._stage / _NOTE).read_text(encoding="utf-8"))
            if all(held["bytes"] in {size(self._stage / n), size(self._path / n)} for n, held in note["files"].items()):
                for _ in self._finish(note):
                    pass
                return
        shutil.rmtree(self._stage, ignore_errors=True)

    def begin(self) -> Path:
        """Return an empty stage."""
        shutil.rmtree(self._stage, ignore_errors=True)
        self._stage.mkdir(parents=True)
        return self._stage

    def commit(self, note: Mapping[str, Any]) -> Iterator[str]:
        """Move the staged files into their places, yielding the name of each step when it is done."""
        durable.sync_tree(self._stage)
        yield "written"
        durable.write_over(self._stage / _NOTE, durable.json_text(note))
        yield "noted"
        yield from self._finish(note)

    def _finish(self, note: Mapping[str, Any]) -> Iterator[str]:
        folders = set()
        for name in note["files"]:
            target = self._path / name
            if (self._stage / name).exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                (self._stage / name).replace(target)
                yield "moved"
            folders |= {p for p in target.parents if p.is_relative_to(self._path)}
        for folder in folders:
            durable.sync(folder)
        os.replace(self._stage / _NOTE, self._kept / self._name_of(note))  # noqa: PTH105 - the name says that it replaces
        durable.sync(self._kept)
        shutil.rmtree(self._stage)
        yield "finished"


def size(path: Path) -> int | None:
    """Return the size of a file in bytes, None when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
