"""`braid`: exit codes, one-line errors, JSON for scripts, and no client or JVM before a command needs it."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from braid.adapters import environment
from braid.settings import JAR_SETS
from cli.follow import last_lines
from cli.main import main
from cli.shell import _statements
from stack import home, jars

COMMANDS = (
    *("setup", "up", "down", "status", "logs", "doctor", "clean", "shell"),
    *("accept-gap", "dead", "generations", "rollback", "new", "check", "plan", "apply", "load"),
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("BRAID_") and name != "BRAID_CACHE"]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("BRAID_HOME", str(home))
    monkeypatch.setenv("BRAID_PORTS", "free")
    return home


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line on stderr."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    return err.strip()


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\b{command}\b", out) for command in COMMANDS)


def test_help_imports_no_client_and_starts_no_jvm():
    code = (
        "import sys; from cli.main import main; main(['--help']);"
        "print(sorted({'pyspark', 'kafka', 'cassandra', 'pyhive', 'flask', 'duckdb', 'supervisor', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("argv", [["upp"], ["up", "--nope"], ["shell"], ["logs", "-n", "-1"]])
def test_a_wrong_request_exits_2(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_setting_exits_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("BRAID_HOMR", "/x")
    assert main(["up"]) == 2
    assert one_error(capsys).startswith("braid: environment: unknown setting BRAID_HOMR; known are ")


def test_no_java_17_exits_1_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(environment, "_java_folders", lambda names: iter(()))
    assert main(["up"]) == 1
    assert re.match(r"braid: Java 17: found none; install it: .*17", one_error(capsys))


def test_an_unwritable_home_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRAID_HOME", str(tmp_path / "file" / "home"))
    assert main(["up"]) == 1
    assert one_error(capsys).endswith("make it writable or set BRAID_HOME")


def test_a_taken_port_exits_1_and_names_its_holder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        monkeypatch.setenv("BRAID_PORTS", f"free,kafka={port}")
        assert main(["up"]) == 1
    assert one_error(capsys).startswith(f"braid: kafka: port {port} (kafka) is in use by ")


def test_too_little_memory_exits_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("stack.limits.memory_bytes", lambda: 2**20)
    assert main(["up"]) == 1
    assert re.match(r"braid: memory: kafka, cassandra, hive.* need \d+ MiB, 1 MiB are free; ", one_error(capsys))


def test_a_tampered_jar_stops_up_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    listed = jars.listed(environment.load())["kafka"]
    folder = tmp_path / "cache" / "jars" / JAR_SETS["kafka"]
    folder.mkdir(parents=True)
    name = sorted(listed)[0]
    for jar in listed:
        (folder / jar).write_bytes(b"evil")
    monkeypatch.setenv("BRAID_CACHE", str(tmp_path / "cache"))
    assert main(["up"]) == 1
    expected = (
        f"braid: jars: {folder / name}: expected sha256 {listed[name]}, got {hashlib.sha256(b'evil').hexdigest()}"
    )
    assert one_error(capsys).startswith(expected)


def test_two_ups_at_once_exit_1(own_home: Path, capsys: pytest.CaptureFixture[str]):
    settings = environment.load()
    home.make(settings)
    with home.locked(settings):
        assert main(["up"]) == 1
        assert f"already running as pid {os.getpid()}" in one_error(capsys)
        # doctor finds it too, without waiting
        assert main(["doctor", "--json"]) == 1
    (lock,) = [check for check in json.loads(capsys.readouterr().out) if check["name"] == "lock"]
    assert lock["verdict"] == "fail"


def test_status_of_nothing_is_down_and_exits_1(own_home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["home"] == str(own_home)
    assert {one["name"]: one["state"] for one in told["services"]}.items() >= {"kafka": "DOWN", "hive": "DOWN"}.items()


def test_down_of_nothing_says_so_and_exits_0(capsys: pytest.CaptureFixture[str]):
    assert main(["down"]) == 0
    assert capsys.readouterr().err == "nothing was running\n"
    assert main(["down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": False}


def test_doctor_names_each_check_and_changes_nothing(own_home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json"]) in {0, 1}
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    wanted = {"python", "java", "memory", "disk", "home", "jars", "lock", "supervisor", "ports", "kafka", "cassandra"}
    assert wanted <= set(checks)
    assert checks["kafka"] == {"name": "kafka", "verdict": "warn", "detail": "not running; `braid up` starts it"}
    assert not own_home.exists()


def test_logs_prints_the_last_lines_and_refuses_an_unknown_name(own_home: Path, capsys: pytest.CaptureFixture[str]):
    (own_home / "logs").mkdir(parents=True)
    (own_home / "logs" / "kafka.log").write_text("one\ntwo\nthree\n")
    assert main(["logs"]) == 0
    assert capsys.readouterr().out == "kafka\n"
    assert main(["logs", "kafka", "-n", "2"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    assert main(["logs", "kafak"]) == 2
    assert one_error(capsys) == f"braid: logs: {own_home / 'logs'}: expected one of kafka, got 'kafak'"


def test_logs_reads_only_the_end_of_a_long_file(tmp_path: Path):
    log = tmp_path / "long.log"
    log.write_bytes(b"".join(b"%07d\n" % number for number in range(50_000)))
    with log.open("rb") as file:
        assert last_lines(file, 3) == b"0049997\n0049998\n0049999\n"
        assert last_lines(file, 20_000).count(b"\n") == 20_000
        assert file.read() == b""


def test_logs_follows_across_a_rotation_until_interrupted(own_home: Path):
    log = own_home / "logs" / "kafka.log"
    log.parent.mkdir(parents=True)
    log.write_text("old\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "logs", "kafka", "-f"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline() == "old\n"
        with log.open("a") as file:
            file.write("new\n")
        assert process.stdout.readline() == "new\n"
        log.rename(log.with_suffix(".log.1"))
        log.write_text("rotated\n")
        assert process.stdout.readline() == "rotated\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_clean_asks_first_and_refuses_what_is_not_only_ours(own_home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["clean", "--yes"]) == 0
    assert capsys.readouterr().err.endswith("nothing to remove\n")
    (own_home / "run").mkdir(parents=True)
    (own_home / "thesis.txt").write_text("")
    assert main(["clean", "--yes"]) == 1
    assert "holds thesis.txt, so it is not only Braid's" in one_error(capsys)
    (own_home / "thesis.txt").unlink()
    assert main(["clean"]) == 2
    assert one_error(capsys) == f"braid: clean: removes {own_home}; confirm with --yes"
    assert own_home.exists()
    assert main(["clean", "--yes"]) == 0
    assert not own_home.exists()


def test_shell_refuses_an_unknown_store(capsys: pytest.CaptureFixture[str]):
    assert main(["shell", "mysql"]) == 2
    assert one_error(capsys) == "braid: shell: expected one of cassandra, hive, kafka, got 'mysql'"


def test_statements_end_with_a_semicolon_or_with_the_input():
    lines = iter(["select 1;", "select", " 2;", "", "select 3"])
    assert list(_statements(lines)) == ["select 1;", "select\n 2;", "select 3"]


def test_an_interrupt_exits_130_without_a_traceback():
    code = """
import sys, time
import cli.main, stack.up

def wait(*_):
    print("in", flush=True)
    time.sleep(60)

stack.up.up = wait
sys.exit(cli.main.main(["up"]))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "Traceback" not in process.communicate()[1]
