"""What runs: supervisor's word for each program, its memory and age, and why it is down."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from braid.settings import Settings
from stack.programs import Program
from stack.supervisor import Supervisor

TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """One line of `braid status`.

    Attributes
    ----------
    state : supervisor's word, `DOWN` without a supervisor, `FATAL` also when the listener gave up
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


def statuses(settings: Settings, programs: list[Program]) -> list[ProgramStatus]:
    """Return the status of each program, in the order given, then of others that supervisor knows."""
    running = Supervisor.of(settings)
    states = running.states() if running else {}
    ports = {program.name: dict(program.ports) for program in programs}
    names = [*ports, *(name for name in states if name not in ports)]
    found: list[ProgramStatus] = []
    for name in names:
        state = states.get(name)
        gave_up = _gave_up(settings, name)
        if state is None:
            found.append(ProgramStatus(name, "DOWN", 0, ports.get(name, {}), 0, 0, ""))
            continue
        down = state.state in {"FATAL", "BACKOFF"} or (gave_up and state.state != "RUNNING")
        detail = f"{gave_up or state.detail}\n{tail(settings.logs / f'{name}.log')}" if down else ""
        word = "FATAL" if gave_up and state.state != "RUNNING" else state.state
        age = int(time.time()) - state.started_s if state.pid else 0
        found.append(ProgramStatus(name, word, state.pid, ports.get(name, {}), age, _memory_mb(state.pid), detail))
    return found


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
