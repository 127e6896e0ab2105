"""What runs: supervisor's word for each program, its memory and age, and why it is down."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from braid.settings import MARK, Settings
from stack import home
from stack.programs import Program
from stack.supervisor import State, Supervisor

TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """One line of `braid status`.

    Attributes
    ----------
    state : supervisor's word; `DOWN` without a supervisor, `LOST` when the process runs on without it; `FATAL` also
        when the listener gave up
    ports : {what: port}
    uptime_s, memory_mb : of the running process and its children; 0 when it is not
    detail : why it is down, and the last lines of its log when it was given up
    """

    name: str
    state: str
    pid: int
    ports: dict[str, int]
    uptime_s: int
    memory_mb: int
    detail: str

    def as_dict(self) -> dict[str, object]:
        """Return it as JSON's words."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the programs of one kind hold, for example all streams: pages that several share count for each in part (PSS)."""

    kind: str
    programs: int
    pss_mb: float


def memory(settings: Settings) -> list[Memory]:
    """Return the memory of everything that the supervisor started, itself included, by kind of program, the largest first.

    Notes
    -----
    Where the system tells no PSS, it is what a process does not share (USS): somewhat less.
    """
    held: dict[str, dict[str, float]] = {}
    for process in home.marked(settings):
        try:
            name, full = process.environ()[MARK], process.memory_full_info()
        except psutil.Error:
            continue
        programs = held.setdefault(name.split("-", maxsplit=1)[0], {})
        programs[name] = programs.get(name, 0.0) + getattr(full, "pss", full.uss) / 2**20
    found = [Memory(kind, len(programs), sum(programs.values())) for kind, programs in held.items()]
    return sorted(found, key=lambda one: -one.pss_mb)


def statuses(settings: Settings, programs: list[Program]) -> list[ProgramStatus]:
    """Return the status of each program, in the order given, then of others that supervisor knows."""
    running = Supervisor.of(settings)
    states = running.states() if running else {}
    lost = {} if running else {process.environ()[MARK]: process.pid for process in home.marked(settings)}
    ports = {program.name: dict(program.ports) for program in programs}
    names = [*ports, *(name for name in states if name not in ports)]
    return [_status(settings, name, states.get(name), lost.get(name, 0), ports.get(name, {})) for name in names]


def _status(settings: Settings, name: str, state: State | None, lost: int, ports: dict[str, int]) -> ProgramStatus:
    if state is None:
        detail = "its supervisor is gone; `braid up` ends it and starts it anew" if lost else ""
        return ProgramStatus(name, "LOST" if lost else "DOWN", lost, ports, 0, _memory_mb(lost), detail)
    gave_up = _gave_up(settings, name) if state.state != "RUNNING" else None
    down = gave_up or state.state in {"FATAL", "BACKOFF"}
    detail = f"{gave_up or state.detail}\n{tail(settings.logs / f'{name}.log')}" if down else ""
    age = int(time.time()) - state.started_s if state.pid else 0
    return ProgramStatus(
        name, "FATAL" if gave_up else state.state, state.pid, ports, age, _memory_mb(state.pid), detail
    )


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented; an empty text when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"    {line[:200]}" for line in text.splitlines()[-lines:])


def _gave_up(settings: Settings, name: str) -> str | None:
    try:
        note = json.loads((settings.run / "gave-up" / f"{name}.json").read_text("utf-8"))
        return f"given up: {note['reason']}"
    except (OSError, ValueError, KeyError):
        return None


def _memory_mb(pid: int) -> int:
    try:
        process = psutil.Process(pid) if pid else None
        tree = [process, *process.children(recursive=True)] if process else []
        return int(sum(one.memory_info().rss for one in tree) // 2**20)
    except psutil.Error:
        return 0
