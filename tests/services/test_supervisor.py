"""The supervisor with small programs of our own: restarts, giving up, interruption, orphans, odd homes. No JVM."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from braid.adapters.environment import load
from braid.errors import AlreadyRunning, NotReady, PortInUse
from braid.settings import Settings
from stack import conf, home, ports, supervisor
from stack.doctor import examine
from stack.programs import Program
from stack.status import statuses
from stack.supervisor import Supervisor
from stack.up import Started, down, up
from tests.stack_fixture import names

FOREVER = "import time\nwhile True: time.sleep(0.1)"


def python(name: str, code: str, **more: object) -> Program:
    return Program(name, (sys.executable, "-c", code), startsecs=0, **more)  # type: ignore[arg-type]


def eventually(ask: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Settings]:
    settings = load(names(BRAID_HOME=str(tmp_path / "home"), BRAID_PORTS="free"))
    yield settings
    down(settings)
    assert home.marked(settings) == []


def pid_of(settings: Settings, name: str) -> int:
    keeper = Supervisor.of(settings)
    return keeper.states()[name].pid if keeper else 0


def started(settings: Settings, *programs: Program) -> list[Started]:
    found: list[Started] = []
    up(settings, lambda _: list(programs), report=found.append)
    return found


def test_a_second_up_starts_nothing_and_a_second_down_stops_nothing(here: Settings):
    program = python("one", FOREVER)
    assert [one.ran_before for one in started(here, program)] == [False]
    pid = pid_of(here, "one")
    assert [one.ran_before for one in started(here, program)] == [True]
    assert pid_of(here, "one") == pid
    assert down(here) is True
    assert down(here) is False
    assert not psutil.pid_exists(pid)


def test_a_killed_program_comes_back_by_itself(here: Settings):
    started(here, python("one", FOREVER))
    before = pid_of(here, "one")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid_of(here, "one") not in {0, before}, "another pid")


FAILS = """
import time
from braid.adapters import environment, failpoints
failpoints.arm(environment.load())
failpoints.hit("batch.views")
print("through", flush=True)
while True: time.sleep(0.1)
"""


def test_a_program_killed_at_a_failpoint_comes_back_and_through_and_others_hear_nothing(
    here: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BRAID_FAILPOINT", "batch.views:kill9")
    settings = replace(here, failpoints="batch.views:kill9")
    source = {"PYTHONPATH": str(here.root / "src")}
    told = "import os\nprint('told', os.environ.get('BRAID_FAILPOINT'), flush=True)\n" + FOREVER
    started(settings, python("batch-one", FAILS, env=source), python("other", told))
    logs = [here.logs / name for name in ("batch-one.log", "other.log")]
    eventually(lambda: all(log.exists() and log.read_text() for log in logs), "both speak")
    assert [log.read_text() for log in logs] == ["through\n", "told None\n"]
    assert (here.run / "failpoints" / "batch.views:kill9").exists()


def test_a_program_that_dies_again_and_again_is_given_up_and_status_says_why(here: Settings):
    program = python("one", "print('the reason', flush=True)\n" + FOREVER)
    started(here, program)
    log = here.logs / "one.log"
    eventually(lambda: log.exists() and "the reason" in log.read_text(), "its words")
    for _ in range(6):
        eventually(lambda: pid_of(here, "one") != 0, "running")
        before = pid_of(here, "one")
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: pid_of(here, "one") != before, "reaped")
    eventually(lambda: statuses(here, [program])[0].state == "FATAL", "given up")
    status = statuses(here, [program])[0]
    assert status.detail.splitlines()[0] == "given up: it ended 6 times in 10 minutes"
    assert "the reason" in status.detail
    assert "one: given up" in (here.logs / "giveup.log").read_text()
    # a person may try again: the next `up` starts it and forgets the verdict
    started(here, program)
    assert statuses(here, [program])[0].state == "RUNNING"


def test_a_program_that_cannot_start_fails_the_up_with_its_last_words_and_leaves_nothing(here: Settings):
    def ready() -> None:
        raise NotReady("no answer")

    program = Program("bad", (sys.executable, "-c", "raise SystemExit('no such table')"), ready=ready)
    good = python("good", FOREVER)
    with pytest.raises(NotReady, match=r"(?s)^bad: FATAL: .*bad\.log:.*no such table"):
        started(here, good, program)
    assert Supervisor.of(here) is None and home.marked(here) == []


def test_a_failed_up_leaves_what_ran_before(here: Settings):
    def ready() -> None:
        raise NotReady("no answer")

    started(here, python("good", FOREVER))
    pid = pid_of(here, "good")
    with pytest.raises(NotReady, match=r"^no answer \(asked for"):
        started(here, python("good", FOREVER), python("mute", FOREVER, ready=ready, ready_timeout_s=0.5))
    assert pid_of(here, "good") == pid
    assert pid_of(here, "mute") == 0


def test_order_is_kept_and_equals_start_together(here: Settings):
    script = "import sys, pathlib\npathlib.Path(sys.argv[1]).touch()\n" + FOREVER
    first = here.home / "first"

    def ready() -> None:
        if not first.exists():
            raise NotReady("not yet")

    def prepare() -> None:
        assert first.exists()

    one = Program("one", (sys.executable, "-c", script, str(first)), ready=ready)
    assert [s.name for s in started(here, python("two", FOREVER, order=1, prepare=prepare), one)] == ["one", "two"]


def test_a_taken_port_stops_the_up_before_anything_starts(here: Settings):
    with pytest.raises(PortInUse, match=r"^one: port \d+ \(web\) is in use by "), socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        started(here, python("one", FOREVER, ports={"web": holder.getsockname()[1]}))
    assert Supervisor.of(here) is None


def test_programs_survive_their_killed_supervisor_and_the_next_up_ends_them(here: Settings):
    program = python("one", FOREVER)
    started(here, program)
    orphan = pid_of(here, "one")
    keeper = psutil.Process(int((here.run / "supervisord.pid").read_text()))
    keeper.kill()
    keeper.wait()
    assert psutil.pid_exists(orphan)
    (found,) = [check for check in examine(here) if check.name == "supervisor"]
    assert found.verdict == "warn" and f"(pid {orphan})" in found.detail
    assert [(one.state, one.pid) for one in statuses(here, [program])] == [("LOST", orphan)]
    said: list[str] = []
    up(here, lambda _: [program], say=said.append)
    assert any(f"(pid {orphan})" in line for line in said)
    assert not psutil.pid_exists(orphan) and pid_of(here, "one") != orphan


def test_down_ends_programs_whose_supervisor_was_killed(here: Settings):
    started(here, python("one", FOREVER))
    orphan = pid_of(here, "one")
    os.kill(int((here.run / "supervisord.pid").read_text()), signal.SIGKILL)
    assert down(here) is True
    assert not psutil.pid_exists(orphan)


def test_a_stopped_supervisor_is_replaced(here: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervisor, "ANSWER_S", 0.5)
    monkeypatch.setattr(home, "PATIENCE_S", 1.0)
    started(here, python("one", FOREVER))
    before = int((here.run / "supervisord.pid").read_text())
    os.kill(before, signal.SIGSTOP)
    started(here, python("one", FOREVER))
    assert int((here.run / "supervisord.pid").read_text()) != before and not psutil.pid_exists(before)


def test_a_stale_pid_file_is_told_and_replaced(here: Settings):
    home.make(here)
    (here.run / "supervisord.pid").write_text("999999")
    (found,) = [check for check in examine(here) if check.name == "supervisor"]
    assert found.verdict == "warn" and found.detail.endswith("is stale; `braid up` replaces it")
    started(here, python("one", FOREVER))
    assert int((here.run / "supervisord.pid").read_text()) != 999999


def test_a_program_that_ignores_its_signal_is_killed_in_the_end(here: Settings):
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + FOREVER
    log = here.logs / "deaf.log"

    def ready() -> None:
        if not log.exists() or "deaf" not in log.read_text():
            raise NotReady("not yet")

    started(here, python("deaf", code, stopwaitsecs=1, ready=ready))
    pid = pid_of(here, "deaf")
    down(here)
    assert not psutil.pid_exists(pid)


def test_a_program_that_refuses_to_go_on_is_given_up_at_once_in_its_own_words(here: Settings):
    code = """
import pathlib, sys, time
from braid.adapters.heartbeat import REFUSED, Heartbeat
with open(sys.argv[2], "a") as file: file.write("x")
Heartbeat(pathlib.Path(sys.argv[1])).beat(REFUSED + "partition 1 lacks offsets 20 to 24")
time.sleep(0.2)
sys.exit(1)
"""
    beat, runs = here.heartbeat("speed-one"), here.logs / "runs"
    argv = (sys.executable, "-c", code, str(beat), str(runs))
    env = {"PYTHONPATH": str(here.root / "src")}
    up(here, lambda _: [Program("speed-one", argv, env=env, startsecs=0, heartbeat=beat)])

    def found() -> tuple[str, str]:
        (one,) = [one for one in statuses(here, []) if one.name == "speed-one"]
        return one.state, one.detail.splitlines()[0] if one.detail else ""

    eventually(lambda: found() == ("FATAL", "given up: partition 1 lacks offsets 20 to 24"), "given up")
    assert len(runs.read_text()) <= 2  # supervisor may have started it once more before it was told


def test_children_of_a_program_end_with_it(here: Settings):
    code = "import subprocess, sys\nc = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\nprint(c.pid, flush=True)\n"
    started(here, python("parent", code + FOREVER))
    log = here.logs / "parent.log"
    eventually(lambda: log.exists() and log.read_text().strip().isdecimal(), "the child's pid")
    child = int(log.read_text())
    down(here)
    assert not psutil.pid_exists(child)


def test_a_program_whose_heart_stops_is_killed_and_started_again_and_one_that_beats_is_not(
    here: Settings, tmp_path: Path
):
    beating = f"import pathlib, time\nwhile True: pathlib.Path({str(tmp_path / 'beat')!r}).touch(); time.sleep(0.1)"
    alive = python("alive", beating, heartbeat=tmp_path / "beat", silent_s=2.0)
    mute = python("mute", FOREVER, heartbeat=tmp_path / "never", silent_s=2.0)
    started(here, alive, mute)
    before = {name: pid_of(here, name) for name in ("alive", "mute")}
    eventually(lambda: pid_of(here, "mute") not in {0, before["mute"]}, "another pid")
    assert pid_of(here, "alive") == before["alive"]
    assert "mute: no heartbeat for" in (here.logs / "giveup.log").read_text()


@pytest.mark.parametrize("name", ["with space", "100%done", "ümlaut", "deep/" * 30 + "home"])
def test_odd_homes_work(tmp_path: Path, name: str):
    settings = load(names(BRAID_HOME=str(tmp_path / name), BRAID_PORTS="free"))
    try:
        started(settings, python("one", FOREVER))
        assert pid_of(settings, "one") != 0
    finally:
        assert down(settings) is True
    assert home.marked(settings) == []


def test_two_ups_at_once_are_refused(here: Settings):
    home.make(here)
    with home.locked(here), pytest.raises(AlreadyRunning, match=r"already running as pid \d+"):
        started(here, python("one", FOREVER))


INTERRUPTED = """
import sys
sys.path.insert(0, {src!r})
from braid.adapters.environment import load
from braid.errors import NotReady
from stack.programs import Program
from stack.up import up

def ready():
    print("asked", flush=True)
    raise NotReady("never")

up(load(), lambda _: [Program("one", (sys.executable, "-c", {forever!r}), startsecs=0, ready=ready)])
"""


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing(here: Settings, word: signal.Signals):
    code = INTERRUPTED.format(src=str(here.root / "src"), forever=FOREVER)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=names(BRAID_HOME=str(here.home), BRAID_PORTS="free"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(word)
    process.stdout.close()
    assert process.wait(timeout=60) != 0
    assert Supervisor.of(here) is None and home.marked(here) == []


def test_a_changed_program_is_replaced_and_the_others_left_alone(here: Settings):
    started(here, python("one", FOREVER), python("two", FOREVER))
    one, two = pid_of(here, "one"), pid_of(here, "two")
    again = started(here, python("one", FOREVER + "\n# changed"), python("two", FOREVER))
    assert [(s.name, s.ran_before) for s in sorted(again, key=lambda s: s.name)] == [("one", False), ("two", True)]
    assert pid_of(here, "one") != one and pid_of(here, "two") == two


def test_a_program_left_out_of_a_second_up_runs_on_until_it_is_removed(here: Settings):
    started(here, python("one", FOREVER), python("two", FOREVER))
    two = pid_of(here, "two")
    started(here, python("one", FOREVER))
    assert pid_of(here, "two") == two
    keeper = Supervisor.of(here)
    assert keeper is not None
    keeper.remove(["two"])
    assert set(keeper.states()) == {"one"} and not psutil.pid_exists(two)


def test_ports_are_the_same_after_down_and_up(here: Settings):
    first = up(here, lambda _: [python("one", FOREVER)])
    down(first)
    assert up(load(names(BRAID_HOME=str(here.home))), lambda _: [python("one", FOREVER)]).ports == first.ports
    assert ports.is_free(first.ports.kafka)


def test_the_socket_is_for_its_owner_alone(here: Settings):
    started(here, python("one", FOREVER))
    assert conf.socket_path(here).stat().st_mode & 0o077 == 0
