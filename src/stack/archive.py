"""The archive of Spark's classes: a JVM maps them into memory instead of reading 15,000 of them from 400 jars each time.

Java writes such an archive when a JVM ends that was told to (`-XX:ArchiveClassesAtExit`), so it is made once an
environment, by a small job (`stack/rehearsal.py`). With it every Spark program of ours starts in about half the time.
Java itself refuses an archive of another Java or of other jars, and goes on without; only a torn file would end it, so
the file is written aside, renamed, and held to its size. It stands beside the jars it was made of.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from braid.adapters.environment import require_java
from braid.errors import StackError
from braid.settings import Settings
from stack import locks
from stack.ivy import Say

TIMEOUT_S = 300.0


def ensure(settings: Settings, say: Say) -> None:
    """Have the archive of this environment, making it when it is missing or was made of other jars or another Java.

    Raises
    ------
    StackError : the rehearsal failed
    """
    if _stands(settings):
        return
    with locks.held(settings.class_archive.with_suffix(".lock")):
        if _stands(settings):  # another instance has made it while we waited
            return
        started = time.monotonic()
        say("spark: archiving its classes, so that every later start takes half the time")
        aside = settings.class_archive_aside
        settings.spark_conf_dir.mkdir(exist_ok=True)
        for stale in (settings.class_archive, _stamp(settings), aside):
            stale.unlink(missing_ok=True)
        _rehearse(settings)
        if not aside.exists():
            raise StackError(
                f"{aside}: expected an archive of Spark's classes, got none; see what {_command(settings)} says"
            )
        aside.replace(settings.class_archive)
        size = settings.class_archive.stat().st_size
        _stamp(settings).write_text(json.dumps(_facts(settings) | {"size": size}), "utf-8")
        say(f"spark: {size // 10**6} MB of classes, {time.monotonic() - started:.0f} s")


def _stands(settings: Settings) -> bool:
    """Return whether the archive is there, whole, and of these jars and this Java."""
    try:
        known = json.loads(_stamp(settings).read_text("utf-8"))
        size = settings.class_archive.stat().st_size
    except (OSError, ValueError):
        return False
    return bool(known == _facts(settings) | {"size": size})


def _stamp(settings: Settings) -> Path:
    return settings.class_archive.with_suffix(".json")


def _facts(settings: Settings) -> dict[str, object]:
    """Return what the archive depends on: Java looks at the same when it maps it."""
    java = require_java(settings)
    jars = [*(settings.spark_home / "jars").glob("*.jar"), *settings.jar_dir("spark").glob("*.jar")]
    newest = max((jar.stat().st_mtime_ns for jar in jars), default=0)
    built = (java / "lib" / "modules").stat()
    return {"java": str(java), "built": [built.st_size, built.st_mtime_ns], "jars": len(jars), "newest": newest}


def _command(settings: Settings) -> list[str]:
    return [str(settings.python), str(Path(__file__).with_name("rehearsal.py"))]


def _rehearse(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(prefix="braid-rehearsal-") as folder:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("BRAID_")}
        environ |= {"BRAID_HOME": folder, "BRAID_ROOT": str(settings.root), "BRAID_CACHE": str(settings.cache)}
        environ |= settings.spark_env() | {"JAVA_HOME": str(require_java(settings))}
        try:
            done = subprocess.run(
                _command(settings), env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{_command(settings)}: expected it to end within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise StackError(f"{_command(settings)}: exit {done.returncode}: {''.join(last)}")
