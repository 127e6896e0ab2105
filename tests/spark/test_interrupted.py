"""A signal in the middle of a Spark action ends the program, not the action: nothing waits until it is through."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from braid.adapters.environment import load
from stack import jars
from tests.stack_fixture import names

JOB = """
import json, signal, sys, threading, time
from braid.adapters import environment, spark as frames

def left(number, frame):
    sys.exit(128 + number)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, left)
session = frames.session(environment.load(), "batch", brief=True)
kept = session.range(3).persist()

def tell():
    while not session.sparkContext.statusTracker().getActiveJobsIds():
        time.sleep(0.05)
    print(json.dumps({"jvm": session.sparkContext._gateway.proc.pid}), flush=True)

threading.Thread(target=tell, daemon=True).start()
try:
    session.sql("SELECT java_method('java.lang.Thread', 'sleep', 3600000L) FROM range(1)").collect()
finally:
    kept.unpersist()
    print(json.dumps({"stopped": frames.end(session)}), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_whose_action_would_take_an_hour(tmp_path: Path, number: signal.Signals) -> None:
    environ = names(BRAID_HOME=str(tmp_path / "home"))
    settings = load(environ)
    jars.ensure(settings, print, ("spark",))
    running = subprocess.Popen(
        [sys.executable, "-c", JOB], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, running.stderr and running.stderr.read()
        jvm = psutil.Process(json.loads(line)["jvm"])
        running.send_signal(number)
        out, err = running.communicate(timeout=120)
        assert (running.returncode, json.loads(out)) == (128 + number, {"stopped": None}), err
        jvm.wait(60)
    finally:
        running.kill()
        running.wait()
