"""Supervisor keeps the processes: its configuration is generated, its unix socket is asked.

It knows neither readiness nor order, so `autostart=false`: `stack.up` starts a program, asks it, goes on. It restarts
what dies, at once; `stack.giveup` listens and gives up after five restarts in ten minutes.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport, UnixStreamHTTPConnection

from braid.adapters import failpoints
from braid.errors import NotReady, StackError
from braid.settings import MARK, Settings
from stack.conf import LISTENER, forget, socket_path, write_conf
from stack.programs import Program

SUPERVISOR = "supervisord"
ANSWER_S = 10.0
GOING = {"STARTING", "RUNNING", "STOPPING"}


@dataclass(frozen=True, slots=True)
class State:
    """What supervisor says of a process; `state` is its word: RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL."""

    name: str
    state: str
    pid: int
    started_s: int
    detail: str


def start_daemon(settings: Settings) -> None:
    """Start supervisord in the background and wait until it answers.

    Raises
    ------
    StackError : it ended with an error; its words are in the text
    """
    if socket_path(settings).parent != settings.run:
        _own_folder(socket_path(settings).parent)
    done = subprocess.run(
        [str(settings.python), "-m", "supervisor.supervisord", "-c", str(settings.run / "supervisord.conf")],
        env={**_inherited(), "BRAID_HOME": str(settings.home), MARK: SUPERVISOR},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"supervisord: ended with {done.returncode}: {' '.join(done.stdout.split())[-300:]}")
    deadline = time.monotonic() + 20
    while Supervisor.of(settings) is None:
        if time.monotonic() > deadline:
            raise NotReady(
                f"supervisord: no answer at {socket_path(settings)}; log: {settings.logs / 'supervisord.log'}"
            )
        time.sleep(0.05)


def _inherited() -> dict[str, str]:
    """Return our environment without failpoints: each program is told its own."""
    return {name: value for name, value in os.environ.items() if name != failpoints.VARIABLE}


class _Impatient(UnixStreamHTTPConnection):  # type: ignore[misc]  # supervisor ships no types
    """A connection that does not wait for ever: a stopped supervisord still takes connections."""

    def connect(self) -> None:
        """Connect, and bound every later wait."""
        super().connect()
        self.sock.settimeout(ANSWER_S)


class _OneQuestion(SupervisorTransport):  # type: ignore[misc]  # supervisor ships no types
    """A connection per question: nothing is left open, and threads may share it."""

    def __init__(self, socketfile: str) -> None:
        super().__init__(None, None, f"unix://{socketfile}")
        self._socketfile = socketfile
        self._get_connection = self._open

    def _open(self) -> _Impatient:
        connection = _Impatient("localhost")
        connection.socketfile = self._socketfile
        return connection

    def request(self, *arguments: Any, **named: Any) -> Any:
        """Ask, and close."""
        try:
            return super().request(*arguments, **named)
        finally:
            self.close()


class Supervisor:
    """The running supervisord of one home."""

    def __init__(self, settings: Settings) -> None:
        transport = _OneQuestion(str(socket_path(settings)))
        self._rpc: Any = ServerProxy("http://127.0.0.1", transport)
        self._settings = settings

    @classmethod
    def of(cls, settings: Settings) -> "Supervisor | None":
        """Return the supervisor of this home, or None when none answers."""
        found = cls(settings)
        try:
            running = found._rpc.supervisor.getState()["statename"] == "RUNNING"
        except (OSError, HTTPException, Fault):
            return None
        return found if running else None

    def states(self) -> dict[str, State]:
        """Return {program: State}, without our own listener."""
        return {name: state for name, state in self._all().items() if name != LISTENER}

    def _all(self) -> dict[str, State]:
        return {info["name"]: _state(info) for info in self._rpc.supervisor.getAllProcessInfo()}

    def update(self, programs: list[Program]) -> None:
        """Take over programs: new ones are added, changed ones stopped and replaced, the others left alone."""
        write_conf(self._settings, programs)
        self._reload()

    def remove(self, names: list[str]) -> None:
        """Stop programs and forget them."""
        self.stop([name for name in names if name in self.states()])
        forget(self._settings, names)
        self._reload()

    def _reload(self) -> None:
        added, changed, removed = self._rpc.supervisor.reloadConfig()[0]
        for name in [*changed, *removed]:
            self.stop([name])
            self._rpc.supervisor.removeProcessGroup(name)
        for name in [*added, *changed]:
            self._rpc.supervisor.addProcessGroup(name)

    def start(self, name: str) -> None:
        """Start a program, without waiting; one that runs already is left alone."""
        try:
            self._rpc.supervisor.startProcess(name, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise StackError(f"{name}: cannot be started: {fault.faultString}") from fault

    def stop(self, names: list[str], patience_s: float = 90.0) -> None:
        """Stop programs together and wait until they have ended; supervisor kills those that outstay their time."""
        for name in names:
            try:
                self._rpc.supervisor.stopProcess(name, False)
            except Fault as fault:
                if fault.faultCode != Faults.NOT_RUNNING:
                    raise StackError(f"{name}: cannot be stopped: {fault.faultString}") from fault
        deadline = time.monotonic() + patience_s
        while any(state.state in GOING for name, state in self._all().items() if name in names):
            if time.monotonic() > deadline:
                raise StackError(f"{', '.join(names)}: did not end within {patience_s:.0f} s")
            time.sleep(0.05)

    def shutdown(self) -> None:
        """End supervisord, with all that still runs under it, and wait for its process to end."""
        try:
            process = psutil.Process(self._rpc.supervisor.getPID())
            self._rpc.supervisor.shutdown()
            process.wait(timeout=90)
        except (OSError, HTTPException, Fault, psutil.Error):
            # already gone, or stuck: `stack.home` ends what is left, by pid
            return


def _state(info: dict[str, Any]) -> State:
    return State(info["name"], info["statename"], info["pid"], info["start"], info["spawnerr"] or info["description"])


def _own_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StackError(f"{folder}: belongs to another user; remove it or use a shorter BRAID_HOME")
