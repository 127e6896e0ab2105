"""What a bare `spark-submit FILE.py` needs: Spark's own folder of defaults, in the environment's pyspark.

spark-submit starts its JVM before any line of the job, so class path, memory, address and time zone cannot come from
the job. `make setup` writes them where Spark looks by itself: pyspark/conf, inside our own virtual environment.
"""

import shutil
from pathlib import Path

from braid.adapters.environment import require_java
from braid.settings import Settings

BEFORE_THE_JVM = (
    "spark.driver.extraClassPath",
    "spark.driver.extraJavaOptions",
    "spark.driver.memory",
    "spark.driver.bindAddress",
    "spark.driver.host",
)
HEADER = "# Written by `braid setup`; the jobs set all other options themselves.\n"


def configure(settings: Settings) -> Path:
    """Write spark-defaults.conf, spark-env.sh and log4j2.properties; return their folder.

    Raises
    ------
    MissingPrerequisite : there is no Java 17
    """
    folder = settings.spark_home / "conf"
    folder.mkdir(exist_ok=True)
    (folder / "spark-defaults.conf").write_text(defaults(settings), "utf-8")
    (folder / "spark-env.sh").write_text(environment(settings), "utf-8")
    shutil.copyfile(settings.local / "log4j2.properties", folder / "log4j2.properties")
    return folder


def defaults(settings: Settings) -> str:
    """Return the text of spark-defaults.conf: only what must be known before the JVM starts."""
    conf = settings.spark_conf("speed")
    return HEADER + "".join(f"{name} {conf[name]}\n" for name in BEFORE_THE_JVM)


def environment(settings: Settings) -> str:
    """Return the text of spark-env.sh: the Java 17 and the interpreter, whatever comes first on PATH."""
    variables = {**settings.spark_env(), "JAVA_HOME": str(require_java(settings))}
    # where these lie is known when they are read; PYTHONPATH is spark-submit's own to build
    known = {"SPARK_HOME", "SPARK_CONF_DIR", "PYTHONPATH"}
    kept = {name: value for name, value in variables.items() if name not in known}
    return HEADER + "".join(f"export {name}={_quoted(value)}\n" for name, value in kept.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
