"""Failpoints: places in the real processes where a test may kill, stop, delay or lose an answer, by name.

`BRAID_FAILPOINT=name:action[:nth]`, several separated by commas; or `BRAID_FAILPOINT=@FILE`, a file with the same text,
looked at again at every place, so that a running process is armed without a restart. A process heeds the names of its
own layer. Without the variable a place costs one comparison.

action       what happens at the place
===========  =============================================================================================
kill9        the process kills itself: no handler runs, nothing is flushed
stop         the process stops itself (SIGSTOP) until somebody sends SIGCONT
raise        StoreUnavailable: what the code does when a store is down
sleep=ms     nothing for so many milliseconds
unknown      the call was done and its answer is lost; only where a compare-and-set is sent

An entry fires at the nth time (default 1) that a process comes by, and once: it leaves a mark under
`BRAID_HOME/run/failpoints`, by which the process that takes over knows, and a test too. With `every` in place of nth it
fires each time. To arm the same entry again, remove its mark. Failpoints are for stores on loopback only: with a store
beyond it, the variable is refused.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from braid.errors import SettingsError, StoreUnavailable
from braid.settings import Settings

VARIABLE = "BRAID_FAILPOINT"
FOLDER = "failpoints"  # of marks, below BRAID_HOME/run
ACTIONS = ("kill9", "stop", "raise", "sleep=ms", "unknown")
EVERY = "every"

# the one list; the first word is the layer whose processes heed the name
NAMES = {
    "producer.before_send": "an event is made and not handed over",
    "producer.sent": "an event is handed over and not acknowledged",
    "producer.acked": "an event is acknowledged and the journal not written",
    "producer.mid_file": "half of the rows are handed over",
    "speed.start": "head is read and compared with the log",
    "speed.catchup": "the ids of one missing micro-batch are put",
    "speed.rebuild": "a new file of seen ids is whole and not renamed",
    "speed.seen": "the seen ids are whole up to head",
    "speed.merged": "the merged views are loaded",
    "speed.wal": "Spark has written the micro-batch's offsets",
    "speed.computed": "the action is back, nothing is written",
    "speed.folded": "copies are masked and the states folded, nothing is written",
    "speed.fragments": "the fragments of one view are written",
    "speed.alerts": "the alerts are written",
    "speed.written": "everything but the ledger row is written",
    "speed.projected": "the projections of the micro-batch before are written, this one has no ledger row",
    "speed.ledger": "the compare-and-set of the ledger row is sent",
    "speed.committed": "the ledger row is there; the ids are not put",
    "speed.put": "the ids are put; the projections may not be written",
    "batch.read": "head and the served generation are read",
    "batch.parquet": "the records are written, unchecked",
    "batch.before_manifest": "the new cut is checked and has no manifest",
    "batch.before_rename": "the new cut is whole, under its temporary name",
    "batch.after_rename": "the new cut has its name",
    "batch.views": "the views are computed",
    "batch.audited": "batch and speed are compared",
    "batch.written": "the generation's files are there",
    "batch.partition_added": "one view's partitions are registered",
    "batch.cas": "the compare-and-set of `current` is sent",
    "batch.published": "the generation is served; Hive's plain names still select the old one",
    "batch.served": "Hive's plain names select the new generation",
    "apply.stopped": "the stream is stopped, nothing is written",
    "apply.defined": "the definition row is there, no generation covers it",
    "apply.built": "a generation of the new declaration is served, the tables are the old ones'",
    "apply.tables": "the tables have their new shape, Hive still has views that are no longer declared",
    "apply.dropped": "everything is done and the stream does not run",
    "load.stopped": "the stream is stopped, nothing is sent",
    "load.sent": "some files are sent and acknowledged, and noted in the journal",
    "load.counted": "everything after head is counted, its archive lies aside, nothing is committed",
    "load.committed": "the bulk row is there; its archive lies aside, no generation covers it",
    "load.archived": "the bulk row's cut has its name, no generation covers it",
    "load.built": "a generation covers the bulk row and the stream does not run",
    "serving.loading": "a generation is read and not swapped in",
    "serving.tail": "some ledger rows are merged into the tail",
}
_MAY_BE_UNKNOWN = frozenset({"speed.ledger", "batch.cas"})
_LAYERS = {"speed": "speed", "batch": "batch", "api": "serving", "producer": "producer"}  # by the program's first word


@dataclass(frozen=True, slots=True)
class Failpoint:
    """One entry: where, what, at which time (0: each time). `text` is how it was written."""

    name: str
    action: str
    nth: int
    text: str

    @classmethod
    def parse(cls, text: str) -> Failpoint:
        """Return the entry of `name:action[:nth]`.

        Raises
        ------
        SettingsError
            An unknown name or action, or a time that is none.

        Examples
        --------
        >>> Failpoint.parse("speed.put:kill9:3").nth, Failpoint.parse("serving.tail:sleep=50:every").nth
        (3, 0)
        """
        name, _, rest = text.partition(":")
        action, _, nth = rest.partition(":")
        if name not in NAMES:
            raise SettingsError(f"{VARIABLE}: {text!r}: expected one of {', '.join(NAMES)}, got {name!r}")
        milliseconds = action.removeprefix("sleep=")
        if not (action in ACTIONS or (milliseconds != action and milliseconds.isdecimal())) or action == "sleep=ms":
            raise SettingsError(
                f"{VARIABLE}: {text!r}: expected an action of {', '.join(ACTIONS)}, got {action!r}; "
                "write name:action[:nth], such as speed.committed:kill9"
            )
        if action == "unknown" and name not in _MAY_BE_UNKNOWN:
            raise SettingsError(
                f"{VARIABLE}: {text!r}: expected `unknown` at {' or '.join(sorted(_MAY_BE_UNKNOWN))} only, got {name}"
            )
        if nth and nth != EVERY and not (nth.isdecimal() and int(nth) > 0):
            raise SettingsError(f"{VARIABLE}: {text!r}: expected nth as a number from 1 on, or {EVERY}, got {nth!r}")
        return cls(name, action, 0 if nth == EVERY else int(nth or 1), text)


def parse(text: str) -> list[Failpoint]:
    """Return the entries of a text; raises SettingsError as `Failpoint.parse` does."""
    return [Failpoint.parse(part.strip()) for part in text.split(",") if part.strip()]


def check(text: str, hosts: Iterable[str]) -> None:
    """Check the variable before anything is started.

    Parameters
    ----------
    hosts : the addresses of every store that is used, or that is listened on, with or without a port

    Raises
    ------
    SettingsError
        It cannot be read, or an address lies beyond loopback.
    """
    if not text:
        return
    beyond = [host for host in hosts if not _loopback(host)]
    if beyond:
        raise SettingsError(
            f"{VARIABLE}: expected every address on loopback, got {beyond[0]}; failpoints destroy processes: unset it"
        )
    if text.startswith("@") and not Path(text[1:]).is_absolute():
        raise SettingsError(f"{VARIABLE}: expected the whole path of a file after @, got {text!r}")
    parse(_read(text))


def of_program(text: str, program: str) -> str:
    """Return what of the variable is meant for a supervised program: `speed-landcover` heeds `speed.` names.

    Examples
    --------
    >>> of_program("speed.put:kill9,serving.tail:stop:2", "api"), of_program("speed.put:kill9", "kafka")
    ('serving.tail:stop:2', '')
    """
    layer = _LAYERS.get(program.split("-", maxsplit=1)[0])
    if layer is None or text.startswith("@"):
        return text if layer else ""
    return ",".join(one.text for one in parse(text) if one.name.startswith(f"{layer}."))


def mark(run: Path, entry: str) -> Path:
    """Return the mark that an entry leaves once it has fired; `run` is BRAID_HOME/run."""
    return run / FOLDER / entry


class Armed:
    """The failpoints of one process, counted together over its threads."""

    def __init__(self, text: str, run: Path) -> None:
        self._text = text
        self._run = run
        self._lock = threading.Lock()
        self._stamp: object = None
        self._entries: list[Failpoint] = []
        self._passed: dict[str, int] = {}

    def hit(self, name: str, lost: type[StoreUnavailable]) -> None:
        """Do what is asked for at a place; most often nothing."""
        with self._lock:
            due = [entry for entry in self._current() if entry.name == name and self._due(entry)]
        for entry in due:
            _act(entry, lost)

    def _current(self) -> list[Failpoint]:
        if not self._text.startswith("@"):
            stamp: object = self._text
        else:
            found = Path(self._text[1:])
            stamp = (found.stat().st_mtime_ns, found.stat().st_ino) if found.exists() else None
        if stamp != self._stamp or not self._entries:
            self._entries = parse(_read(self._text))
            self._stamp, self._passed = stamp, {}
        return self._entries

    def _due(self, entry: Failpoint) -> bool:
        self._passed[entry.text] = passed = self._passed.get(entry.text, 0) + 1
        if entry.nth == 0:
            return True
        if passed != entry.nth:
            return False
        path = mark(self._run, entry.text)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("x").close()  # of all processes and restarts one makes it
        except FileExistsError:
            return False
        return True


_armed: Armed | None = None


def arm(settings: Settings) -> None:
    """Arm this process with what its settings ask for: at the start of every job."""
    global _armed  # noqa: PLW0603 - places lie deep in code that knows no settings; nothing else is global here
    _armed = Armed(settings.failpoints, settings.run) if settings.failpoints else None


def hit(name: str, lost: type[StoreUnavailable] = StoreUnavailable) -> None:
    """Come by a place.

    Parameters
    ----------
    name : one of NAMES; others pass
    lost : what `unknown` raises

    Raises
    ------
    StoreUnavailable
        The action is `raise`, or `unknown`.
    """
    if _armed is not None:
        _armed.hit(name, lost)


def _act(entry: Failpoint, lost: type[StoreUnavailable]) -> None:
    if entry.action == "kill9":
        os.kill(os.getpid(), signal.SIGKILL)
    elif entry.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif entry.action == "raise":
        raise StoreUnavailable(f"failpoint {entry.text}")
    elif entry.action == "unknown":
        raise lost(f"failpoint {entry.text}: the answer is lost")
    else:
        time.sleep(int(entry.action.removeprefix("sleep=")) / 1000)


def _read(text: str) -> str:
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        return path.read_text("utf-8") if path.exists() else ""
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: {path}: expected a file with failpoints, got {error}") from error


def _loopback(address: str) -> bool:
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
