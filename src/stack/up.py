"""`up` and `down`: the order of things. Both may be run at any time, twice, and be interrupted.

`up` leaves either a stack that has answered or nothing of its own: what an interrupted or failed run started is
stopped again. What ran before it is left alone.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from threading import Event, current_thread, main_thread

from braid.errors import NotReady
from braid.settings import Settings
from stack import archive, conf, home, jars, limits, ports, readiness, supervisor
from stack.programs import Program
from stack.services import services
from stack.status import tail
from stack.supervisor import Supervisor

Say = Callable[[str], None]
ALIVE = {"STARTING", "RUNNING", "BACKOFF"}
Programs = Callable[[Settings], list[Program]]


def _quiet(_: object) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Started:
    """One program that has answered: its ports, the seconds until its answer, and whether it had run before."""

    name: str
    ports: tuple[int, ...]
    seconds: float
    ran_before: bool


def up(
    settings: Settings,
    programs: Programs = services,
    say: Say = _quiet,
    report: Callable[[Started], None] = _quiet,
) -> Settings:
    """Start every program that does not run yet, those of equal order together, and wait for their answers.

    Parameters
    ----------
    settings : Settings
    programs : given the settings with ports decided, what is to run
    say : takes a line of progress
    report : called with each program as it answers

    Returns
    -------
    Settings, with the ports decided

    Raises
    ------
    StackError : a prerequisite is missing, a port is taken, a program does not answer, another `up` is under way
    """
    home.make(settings)
    with home.locked(settings), _interruptible():
        running = Supervisor.of(settings)
        if running is None:
            home.end(home.marked(settings), say)
            settings = ports.choose(settings)
        _start_all(settings, programs(settings), running, say, report)
    return settings


def start_again(settings: Settings, program: Program) -> bool:
    """Start one program of a running stack and wait for its answer; return whether there is a stack to run it.

    Raises
    ------
    NotReady : it ended, or did not answer in time; its last words are in the text
    """
    keeper = Supervisor.of(settings)
    if keeper is None:
        return False
    running = program.name in keeper.states() and keeper.states()[program.name].state in ALIVE
    keeper.update([program])
    _start_one(settings, program, running, Event())
    return True


def hold(settings: Settings, name: str) -> bool:
    """Stop one program of a running stack, and wait until it has ended; return whether there was one to stop."""
    keeper = Supervisor.of(settings)
    if keeper is None or name not in keeper.states():
        return False
    keeper.stop([name])
    return True


def down(settings: Settings, say: Say = _quiet) -> bool:
    """Stop every program, highest order first, then the supervisor; return whether anything ran.

    Raises
    ------
    AlreadyRunning : an `up` is under way
    """
    if not settings.run.exists():
        return False
    with home.locked(settings):
        running = Supervisor.of(settings)
        if running is not None:
            _stop(running, running.states(), say)
            running.shutdown()
        left = home.marked(settings)
        home.end(left, say)
    return running is not None or bool(left)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end `up` as Ctrl-C does, so that each of them undoes what it has started."""
    if current_thread() is not main_thread():
        yield
        return
    before = {name: signal.signal(name, signal.default_int_handler) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _start_all(
    settings: Settings,
    wanted: list[Program],
    running: Supervisor | None,
    say: Say,
    report: Callable[[Started], None],
) -> None:
    if running is not None:
        # before the question what runs: a program whose definition has changed is stopped here
        running.update(wanted)
    before = {name for name, state in running.states().items() if state.state in ALIVE} if running else set()
    missing = [program for program in wanted if program.name not in before]
    limits.check(settings, missing)
    for program in missing:
        ports.refuse_taken(program.name, program.ports)
    jars.ensure(settings, say)
    archive.ensure(settings, say)
    try:
        if running is None:
            conf.forget(settings)
            conf.write_conf(settings, wanted)
            supervisor.start_daemon(settings)
        ordered = sorted(wanted, key=lambda program: program.order)
        for _, together in groupby(ordered, key=lambda program: program.order):
            _start_together(settings, list(together), before, report)
    except BaseException:
        say("stopping what this run has started")
        _undo(settings, running, {program.name for program in missing})
        raise


def _start_together(
    settings: Settings, programs: list[Program], before: set[str], report: Callable[[Started], None]
) -> None:
    pool, cancelled = ThreadPoolExecutor(len(programs)), Event()
    try:
        pending = {
            pool.submit(_start_one, settings, program, program.name in before, cancelled) for program in programs
        }
        while pending:
            # a short wait: Ctrl-C reaches Python only between two of them
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                report(future.result())
    finally:
        # waited for, so that no thread starts a program after it has been undone
        cancelled.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _start_one(settings: Settings, program: Program, ran_before: bool, cancelled: Event) -> Started:
    def dead() -> str | None:
        return "cancelled" if cancelled.is_set() else _death(settings, keeper, program.name)

    # its own connection: an XML-RPC transport is not for two threads
    keeper = Supervisor(settings)
    started = time.monotonic()
    if not ran_before:
        (settings.run / "gave-up" / f"{program.name}.json").unlink(missing_ok=True)
        program.prepare()
        if cancelled.is_set():
            raise NotReady(f"{program.name}: cancelled")
        keeper.start(program.name)
    if program.ready is not None:
        readiness.wait(program.ready, program.ready_timeout_s, dead)
    return Started(program.name, tuple(program.ports.values()), time.monotonic() - started, ran_before)


def _death(settings: Settings, keeper: Supervisor, name: str) -> str | None:
    state = keeper.states().get(name)
    if state is not None and state.state in ALIVE:
        return None
    log = settings.logs / f"{name}.log"
    word = state.state if state else "gone"
    return f"{name}: {word}: {state.detail if state else ''}; last lines of {log}:\n{tail(log)}"


def _undo(settings: Settings, running: Supervisor | None, names: Iterable[str]) -> None:
    keeper = Supervisor.of(settings)
    if keeper is not None:
        mine = set(names)
        _stop(keeper, {name: state for name, state in keeper.states().items() if name in mine}, _quiet)
        if running is None:
            keeper.shutdown()
    if running is None:
        home.end(home.marked(settings), _quiet)


def _stop(keeper: Supervisor, states: dict[str, supervisor.State], say: Say) -> None:
    """Stop layers before the services they use; those of one kind together."""
    layers = [name for name in states if name not in {"kafka", "cassandra", "hive"}]
    for names in (layers, [name for name in states if name not in layers]):
        if names:
            say(f"stopping {', '.join(names)}")
            keeper.stop(names)
