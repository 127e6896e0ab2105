"""How `growth` and `bench.arms.speed` tell each other which file of seen ids the stream looks into."""

from __future__ import annotations

from pathlib import Path


def ask(wanted: Path, ids: int) -> None:
    """Ask for the file with so many further ids; who reads it meanwhile sees this number or the one before."""
    new = wanted.with_suffix(".new")
    new.write_text(str(ids), "ascii")
    new.replace(wanted)


def asked(wanted: Path) -> int:
    """Return how many further ids are asked for."""
    return int(wanted.read_text("ascii")) if wanted.exists() else 0


def turned(wanted: Path, ids: int) -> None:
    """Say that the stream looks into the file with so many further ids."""
    ask(_done(wanted), ids)


def looks_into(wanted: Path) -> int:
    """Return how many further ids the file has that the stream looks into."""
    return asked(_done(wanted))


def folder(wanted: Path, ids: int) -> Path:
    """Return the folder of the seen ids with so many further ones."""
    return wanted.with_name(f"{wanted.name}-{ids}.lmdb")


def _done(wanted: Path) -> Path:
    return wanted.with_suffix(".done")
