"""Reading a log while it is written, across its rotation."""

import os
import time
from pathlib import Path
from typing import TextIO

CHUNK = 65536


def last_lines(path: Path, lines: int) -> str:
    """Return the last `lines` lines of a file, read from its end.

    Examples
    --------
    >>> import tempfile; log = Path(tempfile.mkdtemp()) / "a.log"; _ = log.write_text("one\\ntwo\\nthree\\n")
    >>> last_lines(log, 2), last_lines(log, 0), last_lines(log, 9)
    ('two\\nthree\\n', '', 'one\\ntwo\\nthree\\n')
    """
    if lines == 0:
        return ""
    with path.open("rb") as file:
        at, data = file.seek(0, 2), b""
        while at > 0 and data.count(b"\n") <= lines:
            step = min(CHUNK, at)
            at = file.seek(at - step)
            data = file.read(step) + data
    return b"".join(data.splitlines(keepends=True)[-lines:]).decode("utf-8", "replace")


def follow(path: Path, out: TextIO, every_s: float = 0.2) -> None:
    """Write what is appended to a file to `out`, for ever; a file that was rotated away is opened anew."""
    file = path.open("rb")
    try:
        file.seek(0, 2)
        while True:
            data = file.read(CHUNK)
            if data:
                out.write(data.decode("utf-8", "replace"))
                out.flush()
            elif _replaced(path, file.fileno(), file.tell()):
                file.close()
                file = path.open("rb")
            else:
                time.sleep(every_s)
    finally:
        file.close()


def _replaced(path: Path, number: int, position: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return there.st_ino != os.fstat(number).st_ino or there.st_size < position
