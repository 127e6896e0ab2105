"""Reading a log while it is written, across its rotation."""

import os
import time
from pathlib import Path
from typing import BinaryIO, TextIO

CHUNK = 65536


def print_log(path: Path, lines: int, out: TextIO, follow: bool = False, every_s: float = 0.2) -> None:
    """Write the last `lines` lines of a file to `out`, and with `follow` for ever what is appended to it.

    Notes
    -----
    One open file serves both, so that no line between them is lost. A file that was rotated away is opened anew.
    """
    file = path.open("rb")
    try:
        _put(last_lines(file, lines), out)
        while follow:
            data = file.read(CHUNK)
            if data:
                _put(data, out)
            elif _replaced(path, file):
                file.close()
                file = path.open("rb")
            else:
                time.sleep(every_s)
    finally:
        file.close()


def last_lines(file: BinaryIO, lines: int) -> bytes:
    """Return the last `lines` lines of an open file, read from its end, and leave it there.

    Examples
    --------
    >>> from io import BytesIO
    >>> [last_lines(BytesIO(b"one\\ntwo\\nthree\\n"), lines) for lines in (2, 0, 9)]
    [b'two\\nthree\\n', b'', b'one\\ntwo\\nthree\\n']
    """
    end = file.seek(0, os.SEEK_END)
    at, data = end, b""
    while lines and at > 0 and data.count(b"\n") <= lines:
        step = min(CHUNK, at)
        at = file.seek(at - step)
        data = file.read(step) + data
    file.seek(end)
    return b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""


def _put(data: bytes, out: TextIO) -> None:
    out.write(data.decode("utf-8", "replace"))
    out.flush()


def _replaced(path: Path, file: BinaryIO) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return there.st_ino != os.fstat(file.fileno()).st_ino or there.st_size < file.tell()
