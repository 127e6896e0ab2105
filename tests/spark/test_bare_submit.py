"""A bare `spark-submit FILE.py` from a fresh shell: no --packages, a wrong Java first on PATH, everything on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from braid.adapters.environment import load
from stack import bare, jars
from tests.stack_fixture import names

JOB = """
import json, os, sys
import psutil
from braid.adapters import environment, spark

session = spark.session(environment.load(), "speed")
context = session.sparkContext
jvm = psutil.Process(os.getppid())
asked = {
    "java": context._jvm.System.getProperty("java.version"),
    "zone": context._jvm.System.getProperty("user.timezone"),
    "kafka": context._jvm.org.apache.spark.util.Utils.classForName(
        "org.apache.spark.sql.kafka010.KafkaSourceProvider", True, False).getName(),
    "files": context._jsc.hadoopConfiguration().get("fs.file.impl"),
    "python": sys.executable,
    "workers": session.range(2).mapInPandas(lambda frames: (f.assign(id=len(sys.executable)) for f in frames), "id long").first()[0],
    "page": context.uiWebUrl,
    "addresses": sorted({c.laddr.ip for c in jvm.net_connections("tcp") if c.status == psutil.CONN_LISTEN}),
}
print("ASKED " + json.dumps(asked), flush=True)
session.stop()
"""


@pytest.fixture
def wrong_java(tmp_path: Path) -> Path:
    """Return a folder whose `java` fails: the one that a newer Java on PATH would be."""
    folder = tmp_path / "newer" / "bin"
    folder.mkdir(parents=True)
    (folder / "java").write_text("#!/bin/sh\necho 'the wrong Java was started' >&2\nexit 1\n")
    (folder / "java").chmod(0o755)
    return folder


def test_a_fresh_shell_runs_a_job_on_java_17_with_our_jars_and_listens_on_loopback(tmp_path: Path, wrong_java: Path):
    settings = load(names(BRAID_HOME=str(tmp_path / "home")))
    jars.ensure(settings, print, ("spark",))
    bare.configure(settings)
    job = tmp_path / "job.py"
    job.write_text(JOB)
    shell = {
        "PATH": os.pathsep.join([str(wrong_java), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
        "HOME": str(Path.home()),
        "BRAID_HOME": str(tmp_path / "home"),
        # another Spark on this machine may hold the usual port of the page
        "BRAID_PORTS": "standard,spark_ui=14040",
        **{name: value for name, value in os.environ.items() if name in {"BRAID_CACHE", "XDG_CACHE_HOME"}},
    }
    done = subprocess.run(
        ["spark-submit", str(job)], env=shell, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ASKED ")] or [done.stderr]
    asked = json.loads(line.removeprefix("ASKED "))
    assert asked["java"].startswith("17.") and asked["zone"] == "UTC"
    assert asked["kafka"].endswith("KafkaSourceProvider") and asked["files"].endswith("BareLocalFileSystem")
    assert asked["python"] == str(settings.python) and asked["workers"] == len(str(settings.python))
    assert asked["page"].startswith("http://127.0.0.1:")
    assert asked["addresses"] and set(asked["addresses"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
