"""Failpoints: what the variable may say, when an entry fires, who hears of it, and that every name has its place."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braid.adapters import failpoints
from braid.adapters.environment import load
from braid.adapters.failpoints import NAMES, Armed, Failpoint, check, of_program, parse
from braid.errors import SettingsError, StoreUnavailable
from stack.programs import Program
from tests.stack_fixture import names

SRC = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed.comitted:kill9", r"expected one of producer\.before_send, .*, got 'speed\.comitted'"),
        ("speed.committed:kill", r"expected an action of kill9, stop, raise, sleep=ms, unknown, got 'kill'"),
        ("speed.committed:sleep=", "expected an action of"),
        ("speed.committed:sleep=ms", "expected an action of"),
        ("speed.committed", "expected an action of .*, got ''"),
        ("speed.put:unknown", r"expected `unknown` at batch\.cas or speed\.ledger only, got speed\.put"),
        ("speed.put:kill9:0", "expected nth as a number from 1 on, or every, got '0'"),
        ("@failpoints", "expected the whole path of a file after @, got '@failpoints'"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused_by_every_command(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"^BRAID_FAILPOINT: .*{words}"):
        load(names(BRAID_HOME=str(tmp_path), BRAID_FAILPOINT=text))


@pytest.mark.parametrize("host", ["10.0.0.1", "kafka.example:9092", "[2001:db8::1]:9092", "::"])
def test_beyond_loopback_the_variable_is_refused(host: str) -> None:
    check("speed.put:kill9", ["127.0.0.1:9092", "localhost", "::1", "[::1]:9042"])
    with pytest.raises(SettingsError, match="expected every address on loopback, got "):
        check("speed.put:kill9", ["127.0.0.1", host])
    check("", [host])


def test_the_producer_refuses_failpoints_for_another_broker(tmp_path: Path) -> None:
    command = [sys.executable, str(SRC / "producer" / "kafka_producer.py"), "--bootstrap", "192.0.2.1:9092"]
    environ = names(BRAID_HOME=str(tmp_path), BRAID_FAILPOINT="producer.sent:kill9")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "got 192.0.2.1:9092" in done.stderr


def test_an_api_beyond_loopback_refuses_failpoints(tmp_path: Path) -> None:
    command = [sys.executable, str(SRC / "serving" / "app.py"), "--listen", "192.0.2.7", "--behind-tls-proxy"]
    environ = names(BRAID_HOME=str(tmp_path), BRAID_FAILPOINT="serving.tail:kill9")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "expected every address on loopback, got 192.0.2.7" in done.stderr


def test_several_entries_are_read_as_they_were_written() -> None:
    found = parse("speed.put:kill9, serving.tail:sleep=20:every ,batch.cas:unknown:2")
    assert [(one.name, one.action, one.nth) for one in found] == [
        ("speed.put", "kill9", 1), ("serving.tail", "sleep=20", 0), ("batch.cas", "unknown", 2),
    ]  # fmt: skip
    assert found[1].text == "serving.tail:sleep=20:every"


def test_an_entry_fires_at_its_time_and_once_whoever_comes_by(tmp_path: Path) -> None:
    armed = Armed("speed.put:raise:2", tmp_path)
    armed.hit("speed.put", StoreUnavailable)
    armed.hit("speed.committed", StoreUnavailable)
    with pytest.raises(StoreUnavailable, match=r"^failpoint speed\.put:raise:2$"):
        armed.hit("speed.put", StoreUnavailable)
    again = Armed("speed.put:raise:2", tmp_path)  # the process that takes over
    for _ in range(4):
        again.hit("speed.put", StoreUnavailable)
    failpoints.mark(tmp_path, "speed.put:raise:2").unlink()
    third = Armed("speed.put:raise:2", tmp_path)
    third.hit("speed.put", StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        third.hit("speed.put", StoreUnavailable)


def test_every_fires_each_time_and_leaves_no_mark(tmp_path: Path) -> None:
    armed = Armed("serving.tail:sleep=30:every", tmp_path)
    began = time.monotonic()
    for _ in range(3):
        armed.hit("serving.tail", StoreUnavailable)
    assert time.monotonic() - began >= 0.09
    assert not (tmp_path / failpoints.FOLDER).exists()


def test_an_unknown_answer_raises_what_the_caller_takes_for_a_lost_one(tmp_path: Path) -> None:
    class NoAnswer(StoreUnavailable):
        pass

    with pytest.raises(NoAnswer, match="the answer is lost"):
        Armed("speed.ledger:unknown", tmp_path).hit("speed.ledger", NoAnswer)


def test_a_file_arms_a_running_process_and_disarms_it(tmp_path: Path) -> None:
    told = tmp_path / "told"
    armed = Armed(f"@{told}", tmp_path)
    armed.hit("speed.put", StoreUnavailable)
    told.write_text("speed.put:raise:1")
    with pytest.raises(StoreUnavailable):
        armed.hit("speed.put", StoreUnavailable)
    armed.hit("speed.put", StoreUnavailable)
    told.unlink()
    failpoints.mark(tmp_path, "speed.put:raise:1").unlink()
    armed.hit("speed.put", StoreUnavailable)
    told.write_text("speed.nowhere:raise")
    with pytest.raises(SettingsError, match="nowhere"):
        armed.hit("speed.put", StoreUnavailable)


PROCESS = """
from braid.adapters import environment, failpoints
failpoints.arm(environment.load())
print("before", flush=True)
failpoints.hit("batch.views")
print("after", flush=True)
"""


def test_a_killed_process_leaves_a_mark_and_its_successor_comes_through(tmp_path: Path) -> None:
    environ = names(BRAID_HOME=str(tmp_path), BRAID_FAILPOINT="batch.views:kill9", PYTHONPATH=str(SRC))
    command = [sys.executable, "-c", PROCESS]
    first, second = (subprocess.run(command, env=environ, capture_output=True, text=True, check=False) for _ in "12")
    assert (first.returncode, first.stdout) == (-9, "before\n")
    assert (second.returncode, second.stdout) == (0, "before\nafter\n")


def test_a_stopped_process_goes_on_when_it_is_told_to(tmp_path: Path) -> None:
    environ = names(BRAID_HOME=str(tmp_path), BRAID_FAILPOINT="batch.views:stop", PYTHONPATH=str(SRC))
    with subprocess.Popen([sys.executable, "-c", PROCESS], env=environ, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(18)  # SIGCONT
        assert process.communicate(timeout=30)[0] == "before\nafter\n"


def test_the_supervisor_tells_each_program_its_own_part(tmp_path: Path) -> None:
    settings = load(names(BRAID_HOME=str(tmp_path), BRAID_PORTS="free"))
    settings = dataclasses.replace(settings, failpoints="speed.put:kill9,batch.cas:unknown:2,serving.tail:stop")
    heard = {
        name: Program(name, ("/bin/true",)).environment(settings).get(failpoints.VARIABLE, "")
        for name in ("speed-landcover", "batch-landcover", "api", "kafka", "supervisord")
    }
    assert heard == {
        "speed-landcover": "speed.put:kill9", "batch-landcover": "batch.cas:unknown:2", "api": "serving.tail:stop",
        "kafka": "", "supervisord": "",
    }  # fmt: skip
    assert [of_program("@/run/told", name) for name in ("api", "cassandra")] == ["@/run/told", ""]


STEPS = {
    "speed": ("speed_layer/microbatch.py", "speed_layer/start.py"),
    "batch": ("batch_layer/run.py", "batch_layer/archive.py", "batch_layer/publish.py"),
    "apply": ("batch_layer/apply.py",),
    "load": ("batch_layer/bulk.py",),
}
NO_PLACE = {
    "batch.nothing new",
    "batch.tidied",
    "apply.started",
    "load.started",
}  # a run's last words: after them nothing is done


def test_every_name_has_a_place_and_every_step_a_name() -> None:
    placed = {
        name
        for path in SRC.rglob("*.py")
        for name in re.findall(r'failpoints\.hit\("([^"]+)"', path.read_text("utf-8"))
    }
    ledger = (SRC / "braid/adapters/cassandra/ledger.py").read_text("utf-8")
    placed |= {name for name in NAMES if f'"{name}")' in ledger}
    for layer, files in STEPS.items():
        placed |= {
            f"{layer}.{step}" for f in files for step in re.findall(r'yield "([^"]+)"', (SRC / f).read_text("utf-8"))
        }
    assert placed - NO_PLACE == set(NAMES)


def test_without_the_variable_a_place_does_nothing() -> None:
    assert failpoints._armed is None
    failpoints.hit("speed.put")
    assert Failpoint.parse("speed.put:kill9") == Failpoint("speed.put", "kill9", 1, "speed.put:kill9")
