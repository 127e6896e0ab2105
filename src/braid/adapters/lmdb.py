"""The seen ids in one LMDB environment per dataset: a cache of the log that says how far it reaches.

Ids are 16-byte keys without values. They and `through_seq` change in one transaction, which the kernel keeps whole
under `kill -9`. Nothing is synced, so a power cut may tear the file, and LMDB has no checksums: reading a torn file can
raise, return other ids, or end the process by a signal (a page beyond the end is SIGBUS, an impossible page an abort;
all three were seen when files were damaged on purpose). So a file is never opened before another process has read all
of it, once, and lived to report its identity, its count of ids and the sum of their first hashes. The caller compares
the last two with the ledger. A refused file is set aside, and one built anew takes its place when it is whole.

The map is written through memory (5,000 ids into a million: 9 ms instead of 21), and every byte of it is allocated on
the disk first, so that a full disk is an error with a name and not a signal.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb

from braid.errors import SeenIdsRefused, StoreUnavailable
from braid.seen import ID_BYTES, Identity

if TYPE_CHECKING:  # the process that only reads a file starts five times faster without
    from braid.ports import SeenIds

MAP_BYTES = 64 << 20  # of a new file: about 700,000 ids
_FULL = 0.8  # the map grows before it is fuller than this
_GROWTH = 1.5
_AT_ONCE = 65_536  # ids summed at once by a scan
_PROBES, _COLD = 64, 8  # ids that are looked up first, and how many pages from the disk make the rest worth threads
_READERS = 16  # reads of the disk at once
_IDENTITY, _THROUGH = b"identity", b"through_seq"


class LmdbSeenIds:
    """The port `SeenIds` over one open environment.

    Parameters
    ----------
    path : Path, its folder
    env : the open environment
    measured : (through_seq, count, sum) when the whole file has just been read, so that it need not be again
    """

    def __init__(self, path: Path, env: lmdb.Environment, measured: tuple[int, int, int] | None = None) -> None:
        self.path = path
        self._env = env
        self._ids = env.open_db(b"ids")
        self._meta = env.open_db(b"meta")
        self._measured = measured
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="seen")  # no thread before the first work

    @property
    def through_seq(self) -> int:
        """The ledger seq up to which the ids are whole."""
        with self._transaction() as txn:
            return _through(txn, self._meta)

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids that were counted before.

        Where a few of them show that the file's pages have to come from the disk, many are read at once: in a large file each id is
        on a page of its own, and one after the other takes as long as the disk answers. Of pages in memory, threads would
        only wait for each other.
        """
        ordered, before = sorted(ids), _disk_reads()
        found = self._found(ordered[:: max(1, len(ordered) // _PROBES)])
        if _disk_reads() - before < _COLD:
            return found | self._found(ordered)
        size = 1 + len(ordered) // _READERS
        parts = [ordered[first : first + size] for first in range(0, len(ordered), size)]
        return found.union(*self._readers.map(self._found, parts))

    def _found(self, ordered: Sequence[bytes]) -> set[bytes]:
        with self._transaction() as txn:
            return {bytes(id_) for id_, _ in txn.cursor(self._ids).getmulti(ordered)}

    def put(self, seq: int, ids: Sequence[bytes]) -> bool:
        """Add the ids and set `through_seq`, in one transaction, only if it was seq − 1; say whether it was done.

        Raises
        ------
        StoreUnavailable
            The disk has no room for the map to grow.
        """
        if self._used() > _FULL:
            self._grow()
        ordered = [(id_, b"") for id_ in sorted(ids)]
        while True:
            try:
                return self._put(seq, ordered)
            except lmdb.MapFullError:
                self._grow()

    def _put(self, seq: int, ordered: list[tuple[bytes, bytes]]) -> bool:
        with self._transaction(write=True) as txn:
            if _through(txn, self._meta) != seq - 1:
                return False
            txn.cursor(self._ids).putmulti(ordered)
            txn.put(_THROUGH, str(seq).encode(), db=self._meta)
        self._measured = None
        return True

    def scan(self) -> tuple[int, int]:
        """Return (count, Σ first hash mod 2^64) over the whole store."""
        through = self.through_seq
        if self._measured is None or self._measured[0] != through:
            with self._transaction() as txn:
                self._measured = (_through(txn, self._meta), *_sums(txn, self._ids))
        return self._measured[1:]

    def sync(self) -> None:
        """Bring everything to the disk."""
        self._env.sync(True)

    def close(self) -> None:
        """Release the store; a second time does nothing."""
        self._readers.shutdown()
        self._env.close()

    def _used(self) -> float:
        info = self._env.info()
        return float((info["last_pgno"] + 1) * self._env.stat()["psize"] / info["map_size"])

    def _grow(self) -> None:
        size = int(self._env.info()["map_size"] * _GROWTH) // (1 << 20) * (1 << 20) + (1 << 20)
        _allocate(self.path, size)
        self._env.set_mapsize(size)

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[lmdb.Transaction]:
        try:
            try:
                txn = self._env.begin(write=write)
            except lmdb.MapResizedError:  # another process has let the map grow
                self._env.set_mapsize(0)
                txn = self._env.begin(write=write)
            with txn:
                yield txn
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            raise SeenIdsRefused(
                f"seen ids {self.path}: expected a sound file, got {error}; start again: it is rebuilt"
            ) from error


class LmdbSeenStore:
    """The port `SeenStore`: the environments of one dataset below its folder.

    Parameters
    ----------
    home : Path, a folder of a local disk, made when missing
    map_bytes : int, size of a new file's map
    """

    def __init__(self, home: Path, map_bytes: int = MAP_BYTES) -> None:
        self._home = home
        self._map_bytes = map_bytes
        self.current = home / "seen-ids.lmdb"
        self.rebuilt = home / "seen-rebuilt.lmdb"
        self.refused = home / "seen-refused.lmdb"

    def open(self, identity: Identity) -> LmdbSeenIds:
        """Open the ids after another process has read them whole; make an empty store when there is none.

        Raises
        ------
        SeenIdsRefused
            The file is damaged, or belongs to another log, declaration or salt.
        """
        if not self.current.exists():
            return self._made(self.current, identity)
        report = _report(self.current)
        if report["identity"] != identity.text():
            raise SeenIdsRefused(
                f"seen ids {self.current}: expected those of {identity.text()}, got {report['identity']}; "
                "the file is set aside and rebuilt from the log"
            )
        measured = (report["through_seq"], report["count"], report["sum"])
        return LmdbSeenIds(self.current, _environment(self.current, self._map_bytes), measured)

    def rebuild(self, identity: Identity) -> LmdbSeenIds:
        """Set the refused store aside and return an empty one under another name."""
        if self.current.exists():
            shutil.rmtree(self.refused, ignore_errors=True)
            self.current.rename(self.refused)
        shutil.rmtree(self.rebuilt, ignore_errors=True)
        return self._made(self.rebuilt, identity)

    def adopt(self, seen: SeenIds) -> LmdbSeenIds:
        """Put a rebuilt, checked store into its place and return it there."""
        if not isinstance(seen, LmdbSeenIds) or seen.path != self.rebuilt:
            raise TypeError(f"adopt: expected what rebuild() returned, got {seen}")
        seen.sync()
        seen.close()
        self.rebuilt.rename(self.current)
        _sync_folder(self._home)
        return LmdbSeenIds(self.current, _environment(self.current, self._map_bytes))

    def _made(self, path: Path, identity: Identity) -> LmdbSeenIds:
        path.mkdir(parents=True)
        env = _environment(path, self._map_bytes)
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(_IDENTITY, identity.text().encode(), db=meta)
            txn.put(_THROUGH, b"0", db=meta)
        return LmdbSeenIds(path, env)


def _environment(path: Path, map_bytes: int) -> lmdb.Environment:
    data = path / "data.mdb"
    size = max(map_bytes, data.stat().st_size if data.exists() else 0)
    try:
        env = lmdb.open(
            str(path), map_size=size, max_dbs=2, sync=False, metasync=False, writemap=True, map_async=True,
            readahead=False,  # a page that is not in memory would bring megabytes of others, and never one that is wanted next
        )  # fmt: skip
    except lmdb.Error as error:
        raise SeenIdsRefused(
            f"seen ids {path}: expected a sound file, got {error}; it is set aside and rebuilt from the log"
        ) from error
    try:
        _allocate(path, size)
    except StoreUnavailable:
        env.close()
        raise
    return env


def _allocate(path: Path, size: int) -> None:
    """Give the map's file all its bytes on the disk."""
    descriptor = os.open(path / "data.mdb", os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise StoreUnavailable(
            f"seen ids {path}: expected {size >> 20} MB of disk for its map, got {error.strerror}; free some and start again"
        ) from error
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_reads() -> int:
    """Return how often this thread has waited for a page from the disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


def _through(txn: lmdb.Transaction, meta: Any) -> int:
    value = txn.get(_THROUGH, db=meta)
    if value is None:
        raise SeenIdsRefused("seen ids: expected a through_seq, got none; the file was never whole: it is rebuilt")
    return int(value)


def _sums(txn: lmdb.Transaction, ids: Any) -> tuple[int, int]:
    """Return the count and the sum of first hashes mod 2^64, a few bytes of memory an id at a time."""
    count = total = 0
    keys = txn.cursor(ids).iternext(keys=True, values=False)
    while chunk := b"".join(islice(keys, _AT_ONCE)):
        hashes = array("Q", chunk)
        if sys.byteorder == "little":
            hashes.byteswap()
        count += len(chunk) // ID_BYTES
        total += sum(hashes[::2])
    return count, total % (1 << 64)


# ---- read whole by another process, which a torn file may kill ------------------------------------------------------


def _report(path: Path) -> dict[str, Any]:
    """Return what a process of its own reads in a file: identity, through_seq, count, sum.

    Raises
    ------
    SeenIdsRefused
        It was killed by what it read, or could not make sense of it.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "braid.adapters.lmdb", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        report: dict[str, Any] = json.loads(done.stdout)
        return report
    said = done.stderr.strip().splitlines()
    why = f"killed by signal {-done.returncode}" if done.returncode < 0 else (said[-1] if said else "no reason")
    raise SeenIdsRefused(
        f"seen ids {path}: expected a file that can be read whole, got {why}; it is set aside and rebuilt from the log"
    )


def _read_whole(path: Path) -> dict[str, Any]:
    with lmdb.open(str(path), create=False, max_dbs=2, sync=False) as env:
        info = env.info()
        if (info["last_pgno"] + 1) * env.stat()["psize"] > (path / "data.mdb").stat().st_size:
            raise SeenIdsRefused("the file is shorter than its pages")
        ids, meta = env.open_db(b"ids", create=False), env.open_db(b"meta", create=False)
        with env.begin() as txn:
            count, total = _sums(txn, ids)
            identity = (txn.get(_IDENTITY, db=meta) or b"").decode()
            report = {"identity": identity, "through_seq": _through(txn, meta), "count": count, "sum": total}
        with env.begin(write=True) as txn:  # the pages a put would take must be readable too
            txn.put(bytes(ID_BYTES), b"", db=ids)
            txn.abort()
    return report


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_read_whole(Path(sys.argv[1]))))
