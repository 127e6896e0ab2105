"""The parts of the stack that need no process: ports, the supervisor's files, giving up, waiting, room."""

import configparser
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from braid.adapters import heartbeat
from braid.adapters.environment import load, require_java
from braid.adapters.heartbeat import Heartbeat
from braid.errors import AlreadyRunning, HomeUnusable, MissingPrerequisite, NotReady, PortInUse, StackError
from braid.settings import PortChoice, Ports, Settings
from stack import bare, conf, giveup, home, limits, ports, readiness, services
from stack.doctor import examine_for_tests
from stack.programs import Program
from stack.status import statuses, tail


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    made = load({"BRAID_HOME": str(tmp_path / "home"), "BRAID_PORTS": "free"})
    home.make(made)
    return made


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_free_ports_are_distinct_recorded_and_kept(here: Settings):
    first = ports.choose(here)
    numbers = first.ports.as_dict()
    assert len(set(numbers.values())) == len(Ports.names())
    assert set(numbers.values()) <= set(ports.SERVED)
    assert load({"BRAID_HOME": str(here.home)}).ports == first.ports
    assert ports.choose(first).ports == first.ports


def test_a_free_port_taken_meanwhile_is_chosen_anew(here: Settings, taken: int):
    chosen = ports.choose(here.with_ports(replace(Ports.unset(), kafka=taken)))
    assert chosen.ports.kafka not in {0, taken}


def test_free_ports_are_none_that_an_outgoing_connection_is_given():
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(given.read_text("utf-8").split()[0]) if given.exists() else 49_152
    assert ports.SERVED.stop <= first


def test_ports_of_an_instance_of_which_one_program_runs_are_not_given_to_another(
    here: Settings, monkeypatch: pytest.MonkeyPatch
):
    block = ports.BLOCKS[3]
    monkeypatch.setattr(ports, "BLOCKS", [block, ports.BLOCKS[5]])
    monkeypatch.setattr(ports, "is_free", lambda port: port != block[-1])
    assert set(ports.choose(here).ports.as_dict().values()) <= set(ports.BLOCKS[1])


def test_no_free_port_left_is_told(here: Settings, monkeypatch: pytest.MonkeyPatch):
    assert len(Ports.names()) <= len(ports.BLOCKS[0])
    monkeypatch.setattr(ports, "is_free", lambda port: port % 16 > 0)
    with pytest.raises(PortInUse, match=r"^BRAID_PORTS=free: expected a block of 16 free ports in 20000-32767, got "):
        ports.choose(here)


def test_asking_for_free_ports_gives_up_recorded_standard_ones(here: Settings):
    assert ports.choose(here.with_ports(Ports())).ports.controller != 9093


def test_a_fixed_port_stays_in_either_mode(here: Settings, taken: int):
    for mode in ("free", "standard"):
        asked = replace(here, port_choice=PortChoice.parse(f"{mode},api={taken}"))
        assert ports.choose(asked).ports.api == taken


def test_a_taken_port_is_refused_with_its_holder(taken: int):
    with pytest.raises(PortInUse) as caught:
        ports.refuse_taken("kafka", {"kafka": taken})
    text = str(caught.value)
    assert text.startswith(f"kafka: port {taken} (kafka) is in use by ") and f"(pid {os.getpid()}, user " in text
    assert text.endswith("; stop it, or set BRAID_PORTS=free, or kafka=NUMBER in it")


def test_a_port_nobody_holds_is_not_refused(taken: int):
    ports.refuse_taken("none", {})
    assert not ports.is_free(taken)


def test_an_unwritable_home_is_one_line_that_says_what_to_do(here: Settings, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(HomeUnusable) as caught:
        home.make(replace(here, home=blocked / "home"))
    text = str(caught.value)
    assert text.startswith(f"BRAID_HOME {blocked / 'home'}: cannot write ") and "\n" not in text
    assert text.endswith("make it writable or set BRAID_HOME")


def test_two_at_once_are_refused_with_the_pid_of_the_first(here: Settings):
    with home.locked(here), pytest.raises(AlreadyRunning, match=f"pid {os.getpid()} "), home.locked(here):
        pytest.fail("locked twice")
    with home.locked(here):
        pass


def test_no_java_17_says_how_to_install_it(here: Settings):
    with pytest.raises(MissingPrerequisite, match=r"^Java 17: found .*; install it: .*17"):
        require_java(replace(here, java_home=None))


def test_too_little_memory_says_how_much_is_wanted():
    big = Program("huge", ("/bin/true",), heap_mb=10**7)
    assert (limits.memory([big]) or "").startswith("memory: huge need 10000250 MiB, ")
    assert limits.memory([Program("none", ("/bin/true",))]) is None


def test_too_little_disk_names_the_folder_even_before_it_exists(tmp_path: Path):
    wrong = limits.disk("BRAID_HOME", tmp_path / "not" / "yet", 10**12)
    assert wrong is not None and wrong.startswith(f"disk: BRAID_HOME {tmp_path / 'not' / 'yet'}: ")
    assert limits.disk("BRAID_HOME", tmp_path, 1) is None


def test_missing_room_stops_a_start_but_not_a_second_up(here: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "HOME_MB", 10**12)
    limits.check(here, [])
    with pytest.raises(MissingPrerequisite, match=r"^disk: BRAID_HOME "):
        limits.check(here, [Program("p", ("/bin/true",))])


def parsed(settings: Settings, name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser()
    parser.read([settings.run / "supervisord.conf", settings.run / "programs" / f"{name}.ini"])
    return parser[f"program:{name}"]


def test_a_program_reaches_the_supervisor_whole_whatever_signs_it_holds(here: Settings):
    argv = ("/bin/echo", "100 %", "a;b ; c # d", 'it\'s "so"', "zwei\nZeilen")
    conf.write_conf(here, [Program("odd", argv, env={"X": "1 % ; 2"}, stopsignal="INT", stopwaitsecs=7)])
    section = parsed(here, "odd")
    assert (section["autostart"], section["autorestart"], section["killasgroup"]) == ("false", "true", "true")
    assert "stopasgroup" not in section, "a JVM that is told together with its Python goes away under its hands"
    assert (section["stopsignal"], section["stopwaitsecs"]) == ("INT", "7")
    launch = json.loads(Path(shlex.split(section["command"])[3]).read_text())
    assert tuple(launch["argv"]) == argv
    assert launch["env"] == {
        "X": "1 % ; 2",
        "BRAID_HOME": str(here.home),
        "BRAID_PROGRAM": "odd",
    }


def test_a_changed_program_changes_its_section(here: Settings):
    conf.write_conf(here, [Program("p", ("/bin/echo", "1"))])
    before = parsed(here, "p")["command"]
    conf.write_conf(here, [Program("p", ("/bin/echo", "2"))])
    assert parsed(here, "p")["command"] != before


def test_a_forgotten_program_leaves_no_file(here: Settings):
    conf.write_conf(here, [Program("p", ("/bin/true",)), Program("q", ("/bin/true",))])
    conf.forget(here, ["p"])
    assert {path.stem for path in (here.run / "programs").glob("*.ini")} == {"q"}
    conf.forget(here)
    assert not list((here.run / "programs").glob("*.ini"))


def test_a_path_that_supervisor_cannot_read_is_refused(here: Settings):
    with pytest.raises(StackError, match=r"is more than supervisor can read$"):
        conf.write_conf(replace(here, home=Path('/tmp/a"b')), [])  # noqa: S108


def test_the_socket_moves_to_a_short_path_when_the_home_is_deep(here: Settings):
    assert conf.socket_path(here).parent == here.run or len(str(here.run)) > 70
    deep = replace(here, home=Path("/" + "/".join(["deep"] * 40)))
    path = conf.socket_path(deep)
    assert len(os.fsencode(path)) <= conf.SOCKET_BYTES
    assert path != conf.socket_path(replace(deep, home=deep.home / "other"))


def test_a_stop_that_was_lost_between_fork_and_exec_is_said_again():
    """The process passes over the first SIGTERM, as one does that supervisor has forked and not yet replaced."""
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print(flush=True), signal.signal(signal.SIGTERM, signal.SIG_DFL)))\nprint(flush=True)\nwhile True: signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    process.stdout.readline()

    class Rpc:
        def stopProcess(self, name, wait):  # noqa: N802 - supervisor's word
            process.terminate()
            process.stdout.readline()

        def getProcessInfo(self, name):  # noqa: N802
            return {"statename": "STOPPING" if process.poll() is None else "STOPPED", "pid": process.pid}

    try:
        giveup.stop(Rpc(), "speed-x")
        assert process.wait(10) == -signal.SIGTERM
    finally:
        process.kill()
        process.stdout.close()


def test_the_services_listen_on_loopback_only(here: Settings):
    settings = here.with_ports(Ports())
    kafka, cassandra, hive = services.services(settings)
    services._prepare_cassandra(settings, settings.run / "cassandra.yaml")
    text = (settings.run / "cassandra.yaml").read_text() + (settings.local / "kafka.properties").read_text()
    assert "0.0.0.0" not in text  # noqa: S104
    assert "spark.hadoop.hive.server2.thrift.bind.host=127.0.0.1" in " ".join(hive.argv)
    assert not any("jmxremote" in word for word in cassandra.argv)
    assert kafka.ports == {"kafka": 9092, "controller": 9093}


def test_a_services_command_starts_with_an_absolute_path(here: Settings):
    assert all(Path(program.argv[0]).is_absolute() for program in services.services(here.with_ports(Ports())))


def test_waiting_returns_at_the_first_answer():
    answers = iter([NotReady("not yet"), NotReady("not yet"), None])

    def ask() -> None:
        error = next(answers)
        if error:
            raise error

    assert readiness.wait(ask, 5, lambda: None, every_s=0.001) < 5


def test_waiting_ends_with_the_last_words_when_time_is_over():
    def ask() -> None:
        raise NotReady("kafka at 127.0.0.1:1: refused")

    with pytest.raises(NotReady, match=r"^kafka at 127\.0\.0\.1:1: refused \(asked for 0 s\)$"):
        readiness.wait(ask, 0.01, lambda: None, every_s=0.001)


def test_waiting_ends_at_once_when_the_process_has_died_for_good():
    def ask() -> None:
        raise NotReady("refused")

    with pytest.raises(NotReady, match=r"^kafka: FATAL$"):
        readiness.wait(ask, 60, lambda: "kafka: FATAL", every_s=0.001)


def test_five_restarts_in_ten_minutes_are_allowed_and_a_sixth_is_not():
    restarts = giveup.Restarts()
    assert [restarts.too_many("speed", at) for at in range(6)] == [False] * 5 + [True]


def test_deaths_of_others_and_of_long_ago_do_not_count():
    restarts = giveup.Restarts()
    assert not any(restarts.too_many(f"p{at % 2}", at) for at in range(10))
    assert not any(restarts.too_many("slow", at * 121.0) for at in range(50))


def test_after_giving_up_the_count_starts_anew():
    restarts = giveup.Restarts(limit=1)
    assert [restarts.too_many("p", at) for at in range(3)] == [False, True, False]


def test_silence_is_counted_from_the_last_touch_or_the_start(tmp_path: Path):
    beat = tmp_path / "beat"
    assert giveup.silent_for(beat, started_s=100, now_s=130) == 30
    beat.write_text("")
    os.utime(beat, (120, 120))
    assert giveup.silent_for(beat, started_s=100, now_s=130) == 10
    assert giveup.silent_for(beat, started_s=125, now_s=130) == 5


def test_a_refusal_is_taken_from_the_last_words_of_the_process_that_ended(tmp_path: Path):
    beat = tmp_path / "heartbeat" / "speed"
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "speed.json").write_text(json.dumps({"heartbeat": str(beat), "silent_s": 120}))
    assert giveup.refusal(tmp_path, "speed", os.getpid()) is None
    Heartbeat(beat).beat("streaming")
    assert giveup.refusal(tmp_path, "speed", os.getpid()) is None
    Heartbeat(beat).beat("refused: a gap")
    assert giveup.refusal(tmp_path, "speed", os.getpid()) == "a gap"
    assert giveup.refusal(tmp_path, "speed", None) == "a gap"
    assert giveup.refusal(tmp_path, "speed", os.getpid() + 1) is None
    (tmp_path / "programs" / "kafka.json").write_text(json.dumps({"heartbeat": None, "silent_s": 120}))
    assert giveup.refusal(tmp_path, "kafka", None) is None


def test_a_job_that_beats_from_two_threads_stumbles_over_neither(tmp_path: Path):
    path = tmp_path / "heartbeat" / "speed"
    heart = Heartbeat(path)
    with ThreadPoolExecutor(4) as pool:
        beats = [pool.submit(heart.beat, f"stage {n}") for n in range(400)]
    assert [beat.exception() for beat in beats] == [None] * 400
    assert (heartbeat.stage(path) or "").startswith("stage ") and [*path.parent.iterdir()] == [path]


def test_a_passing_stage_is_written_soon_with_its_own_time_and_never_over_a_later_one(tmp_path: Path):
    path = tmp_path / "heartbeat" / "speed"
    heart = Heartbeat(path)
    began_us = time.time_ns() // 1000
    heart.passing("wal")
    heart.passing("computed")
    until = time.monotonic() + 20
    while heartbeat.stage(path) != "computed":
        assert time.monotonic() < until
    said = heartbeat.said(path)
    assert said is not None and began_us <= said["at_us"] <= time.time_ns() // 1000
    for n in range(50):
        heart.passing("put")
        heart.beat(f"refused: {n}")
        assert heartbeat.stage(path) == f"refused: {n}"
    assert not heart._passing, "nothing is left to be written over the last words"


def test_a_heartbeat_that_could_not_be_written_is_written_when_it_can_be(tmp_path: Path):
    path = tmp_path / "heartbeat" / "speed"
    heart = Heartbeat(path)
    path.parent.rmdir()
    heart.passing("wal")
    until = time.monotonic() + 20
    while heart._wake.is_set():  # the writer has not taken it up yet
        assert time.monotonic() < until
    path.parent.mkdir()
    while heartbeat.stage(path) != "computed":
        heart.passing("computed")
        assert time.monotonic() < until


def test_a_stream_counts_those_beside_it_that_committed_lately(tmp_path: Path):
    here, there, idle, schedule = (Heartbeat(tmp_path / f) for f in ("speed-a", "speed-b", "speed-c", "batch-b"))
    assert here.at_work() == 0
    for heart in (here, there, schedule):
        heart.measured(1, {"wal": 0.1})
    for heart in (here, there, idle, schedule):
        heart.beat("streaming")
    assert (here.at_work(), idle.at_work()) == (1, 2)
    assert here.at_work(within_s=-1) == 0
    dead = tmp_path / "speed-b"
    dead.write_text(json.dumps(json.loads(dead.read_text()) | {"pid": 2**22 + 1}))
    assert here.at_work() == 0


def test_without_a_supervisor_every_program_is_down(here: Settings):
    found = statuses(here, [Program("p", ("/bin/true",), ports={"x": 1})])
    assert [(one.name, one.state, one.ports, one.pid) for one in found] == [("p", "DOWN", {"x": 1}, 0)]


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path):
    log = tmp_path / "a.log"
    assert tail(log) == ""
    log.write_bytes(b"".join(b"line %d \xff\n" % n for n in range(5000)))
    assert tail(log, 2).splitlines() == ["    line 4998 �", "    line 4999 �"]


def test_a_bare_spark_submit_gets_what_must_precede_the_jvm(here: Settings):
    lines = bare.defaults(here).splitlines()
    assert f"spark.driver.extraClassPath {here.jar_dir('spark')}/*" in lines
    assert {"spark.driver.bindAddress 127.0.0.1", "spark.driver.host 127.0.0.1"} <= set(lines)
    env = bare.environment(here)
    assert f"export JAVA_HOME='{here.java_home}'" in env and "SPARK_HOME" not in env


def test_the_tests_own_doctor_makes_chromium_a_must(here: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stack.doctor.chromium", lambda: None)
    found = {check.name: check for check in examine_for_tests(here)}
    assert found["chromium"].verdict == "fail" and "install" in found["chromium"].detail
