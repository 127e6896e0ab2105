"""Supervisor's listener: gives up on a program after five restarts in ten minutes, and kills one without heartbeat.

Supervisor counts only starts that die at once; a program that dies a minute after each start it would restart for
ever. Giving up stops the program, leaves `run/gave-up/<name>.json` for `braid status`, and says so in logs/giveup.log.
Killing is not giving up: a job that is stuck is killed so that supervisor starts it again.

A job whose last words in its heartbeat are `refused: …` has met what no restart mends, such as a gap in the log: it is
given up at once, in its own words.
"""

import json
import os
import signal
import sys
import time
from collections import defaultdict, deque
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from supervisor.childutils import eventdata, get_headers, getRPCInterface

from braid.adapters.heartbeat import REFUSED

LIMIT = 5
WINDOW_S = 600.0
STOP_S = 5.0


class Restarts:
    """How often each program has died lately.

    Examples
    --------
    >>> restarts = Restarts(limit=2, window_s=10.0)
    >>> [restarts.too_many("speed", at) for at in (0.0, 1.0, 2.0)], restarts.too_many("speed", 20.0)
    ([False, False, True], False)
    """

    def __init__(self, limit: int = LIMIT, window_s: float = WINDOW_S) -> None:
        self._limit = limit
        self._window_s = window_s
        self._deaths: defaultdict[str, deque[float]] = defaultdict(deque)

    def too_many(self, name: str, now_s: float) -> bool:
        """Note a death at `now_s` (seconds, any monotonic zero); return whether it is one too many."""
        deaths = self._deaths[name]
        deaths.append(now_s)
        while deaths and deaths[0] <= now_s - self._window_s:
            deaths.popleft()
        if len(deaths) <= self._limit:
            return False
        deaths.clear()
        return True


def silent_for(heartbeat: Path, started_s: float, now_s: float) -> float:
    """Return seconds since the last touch, or since the start when that is later (Unix seconds)."""
    try:
        touched = heartbeat.stat().st_mtime
    except OSError:
        touched = 0.0
    return now_s - max(touched, started_s)


def main(stdin: TextIO, stdout: TextIO) -> None:
    """Serve supervisor's events until it ends."""
    rpc, restarts, run = getRPCInterface(os.environ).supervisor, Restarts(), Path(os.environ["BRAID_HOME"]) / "run"
    while True:
        stdout.write("READY\n")
        stdout.flush()
        line = stdin.readline()
        if not line:
            return
        headers = get_headers(line)
        payload = stdin.read(int(headers["len"]))
        try:
            _handle(rpc, restarts, run, headers["eventname"], payload)
        except Exception as error:  # noqa: BLE001  # a listener that dies stops watching; supervisor's faults are logged
            _log(f"{headers['eventname']}: {error!r}")
        stdout.write("RESULT 2\nOK")
        stdout.flush()


def _handle(rpc: Any, restarts: Restarts, run: Path, event: str, payload: str) -> None:
    if event.startswith("TICK"):
        _kill_silent(rpc, run)
        return
    headers, _ = eventdata(payload + "\n")
    name = headers["processname"]
    if event.endswith("FATAL"):
        _give_up(run, name, "it ended at once, each time it was started")
        return
    why = refusal(run, name, int(headers["pid"]) if "pid" in headers else None)
    if not why and restarts.too_many(name, time.monotonic()):
        why = f"it ended {LIMIT + 1} times in {WINDOW_S / 60:.0f} minutes"
    if why:
        stop(rpc, name)
        _give_up(run, name, why)


def stop(rpc: Any, name: str) -> None:
    """Stop a program that supervisor is starting again at this moment.

    A signal that arrives between its fork and its exec is lost: there supervisor's own handler takes it. So it is sent
    until the program has ended, or for some seconds; what has heard the first one does not mind a second.
    """
    rpc.stopProcess(name, False)
    until = time.monotonic() + STOP_S
    while (info := rpc.getProcessInfo(name))["statename"] == "STOPPING" and time.monotonic() < until:
        time.sleep(0.2)
        if info["pid"]:
            with suppress(ProcessLookupError):
                os.kill(info["pid"], signal.SIGTERM)


def refusal(run: Path, name: str, pid: int | None) -> str | None:
    """Return why a program that has ended refuses to go on, by its heartbeat; None when it does not say so.

    Parameters
    ----------
    pid : of the process that ended: words of an earlier one do not count; None when supervisor does not tell it
    """
    watched = _heartbeat(run / "programs" / f"{name}.json")
    try:
        said = json.loads(watched[0].read_text("utf-8")) if watched else {}
    except (OSError, ValueError):
        return None
    stage = str(said.get("stage", ""))
    return stage.removeprefix(REFUSED) if stage.startswith(REFUSED) and pid in {None, said.get("pid")} else None


def _give_up(run: Path, name: str, reason: str) -> None:
    folder = run / "gave-up"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"reason": reason, "at_s": int(time.time())}), "utf-8")
    _log(f"{name}: given up: {reason}")


def _kill_silent(rpc: Any, run: Path) -> None:
    watched = {path.stem: beat for path in (run / "programs").glob("*.json") if (beat := _heartbeat(path))}
    if not watched:
        return
    for info in rpc.getAllProcessInfo():
        if info["name"] not in watched or not info["pid"]:
            continue
        heartbeat, limit_s = watched[info["name"]]
        silent_s = silent_for(heartbeat, info["start"], time.time())
        if silent_s > limit_s:
            _log(f"{info['name']}: no heartbeat for {silent_s:.0f} s: killing pid {info['pid']}")
            os.killpg(info["pid"], signal.SIGKILL)


def _heartbeat(launch: Path) -> tuple[Path, float] | None:
    told = json.loads(launch.read_text("utf-8"))
    return (Path(told["heartbeat"]), float(told["silent_s"])) if told["heartbeat"] else None


def _log(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
