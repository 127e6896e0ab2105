"""Files that are whole or not there: written aside, brought to the disk, and renamed into a place that is still free.

A folder is made under a name that nobody reads, every file and folder of it is fsynced, and one rename gives it its
name; a rename never replaces anything. Whoever finds the name finds all of it, whenever the power went out. What was
renamed is never written again, and is believed only when its sha256 is the recorded one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGE = ".stage-"  # a leading dot: Spark and Hive pass such folders over


@dataclass(frozen=True, slots=True)
class FileSum:
    """What a file must be: its sha256 (hex) and its size in bytes."""

    sha256: str
    bytes: int


def sums(folder: Path) -> dict[str, FileSum]:
    """Return the sum of every file below a folder, by its path within it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sum_of(p) for p in files}


def sum_of(path: Path) -> FileSum:
    """Return the sha256 and size of one file."""
    with path.open("rb") as file:
        return FileSum(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def first_difference(folder: Path, expected: Mapping[str, FileSum]) -> str | None:
    """Return what is wrong with the first file that is not as recorded, None when all are.

    Files that are not recorded do not matter: nobody reads a folder by listing it.
    """
    for name, wanted in sorted(expected.items()):
        path = folder / name
        try:
            got = sum_of(path)
        except OSError as error:
            return f"{path}: expected {wanted.bytes} bytes, got {error.strerror}"
        if got != wanted:
            return (
                f"{path}: expected sha256 {wanted.sha256} ({wanted.bytes} bytes), got {got.sha256} ({got.bytes} bytes)"
            )
    return None


# ---- writing -----------------------------------------------------------------------------------------------------


def stage(parent: Path, name: str) -> Path:
    """Make an empty folder aside, free of what a killed run left there."""
    path = parent / (STAGE + name)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def clear_stages(parent: Path) -> int:
    """Remove what killed runs left aside; return how many folders and files those were."""
    found = list(parent.glob(f"{STAGE}*"))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(found)


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below `folder`, and itself, to the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Bring one file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rename_new(source: Path, target: Path) -> None:
    """Give a folder its name, unless the name is taken.

    Raises
    ------
    FileExistsError
        The target exists; both stay as they were.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise FileExistsError(f"{target}: expected a name not yet taken, got a folder; it was left as it is")
    source.rename(target)  # refuses a folder with files in it by itself, so nothing can slip between
    sync(target.parent)


def write_new(path: Path, value: Any) -> None:
    """Write JSON to a file that does not exist yet, whole or not at all.

    Raises
    ------
    FileExistsError
        The file exists; it stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(STAGE + path.name)
    aside.write_text(json_text(value), encoding="utf-8")
    sync(aside)
    try:
        os.link(aside, path)  # unlike a rename, a link never replaces
    finally:
        aside.unlink()
    sync(path.parent)


def write_over(path: Path, text: str) -> None:
    """Put a text in the place of what a file holds, whole or not at all; on the disk before this returns."""
    aside = path.with_name(STAGE + path.name)
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def json_text(value: Any) -> str:
    """Return JSON, sorted and indented, that reads the same every time."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
