"""Every choice of an installation, as one frozen value built from a mapping of BRAID_* names.

Nothing here reads the machine: `braid.adapters.environment` looks at the environment, the memory, the Java
folders and the recorded ports, and hands them in. So a test builds any installation from a dict.

===============  ===========================================================================  ==================
name             meaning                                                                      default
===============  ===========================================================================  ==================
BRAID_HOME       all state of this instance                                                   <root>/.braid
BRAID_ROOT       the checkout: datasets/, cql/, dashboard/, infrastructure/                   where src/ lies
BRAID_CACHE      jars and web files, shared by all instances                                  ~/.cache/braid
BRAID_PORTS      `standard` or `free`, then `name=number` for single ones: `free,api=5005`    standard
BRAID_MEMORY     `small`, `normal`, or `auto`: small below 12 GB                              auto
BRAID_MAVEN      address of a Maven repository                                                Maven Central
BRAID_KEY_FILE   file of the API key that `braid verify URL` and `braid explain URL` send             none
BRAID_FAILPOINT  for tests: where to kill, stop or delay a process (braid.adapters.failpoints)  none
BRAID_SEED       for tests: the seed of the fault rows in `make test`                         of the commit
===============  ===========================================================================  ==================
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from braid.errors import SettingsError
from braid.listeners import LOOPBACK, PortChoice, Ports

__all__ = [
    "CORES",
    "HEAPS",
    "JAR_SETS",
    "KNOWN",
    "LOOPBACK",
    "MARK",
    "Heaps",
    "PortChoice",
    "Ports",
    "Profile",
    "Settings",
]

SMALL_BELOW_BYTES = 12 * 10**9
CORES = 2  # that a Spark program uses
KNOWN = (
    "BRAID_HOME",
    "BRAID_ROOT",
    "BRAID_CACHE",
    "BRAID_PORTS",
    "BRAID_MEMORY",
    "BRAID_MAVEN",
    "BRAID_KEY_FILE",
    "BRAID_FAILPOINT",
    "BRAID_SEED",
)
# Set by the supervisor in its children, so that a later `braid` recognises them; nobody configures it.
MARK = "BRAID_PROGRAM"
# Folder of each jar set below the cache; infrastructure/local/jars.sha256 lists what each must hold.
JAR_SETS = {"kafka": "kafka-4.1.2", "cassandra": "cassandra-5.0.9", "spark": "spark-4.2.0", "web": "web-2"}

Profile = Literal["small", "normal"]


@dataclass(frozen=True, slots=True)
class Heaps:
    """Java heap sizes in MiB."""

    kafka: int
    cassandra: int
    hive: int
    speed: int
    batch: int

    @property
    def total(self) -> int:
        """Sum over all five JVMs, in MiB, without what lies outside the heaps."""
        return self.kafka + self.cassandra + self.hive + self.speed + self.batch


HEAPS: dict[Profile, Heaps] = {
    "normal": Heaps(kafka=512, cassandra=1024, hive=1024, speed=1024, batch=1024),
    "small": Heaps(kafka=256, cassandra=512, hive=512, speed=512, batch=512),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation of Braid on one machine.

    Attributes
    ----------
    home, root, cache : absolute paths, see the module's table
    ports : Ports, as recorded by the last `braid up`, else as BRAID_PORTS asks
    profile : memory profile, already decided
    python : the interpreter that runs Braid; Spark's workers use it too
    spark_home : folder of the pyspark package
    java_home : a Java 17, or None when none was found
    maven : address of the Maven repository; empty: Maven Central
    key_file : file that holds an API key to send; None: none is sent
    failpoints : BRAID_FAILPOINT as it was given; empty: none
    """

    home: Path
    root: Path
    cache: Path
    ports: Ports
    port_choice: PortChoice
    profile: Profile
    python: Path
    spark_home: Path
    java_home: Path | None = None
    maven: str = ""
    key_file: Path | None = None
    failpoints: str = ""

    @classmethod
    def of(
        cls,
        names: Mapping[str, str],
        *,
        root: Path,
        python: Path,
        spark_home: Path,
        user_home: Path,
        memory_bytes: int,
        recorded: Ports | None = None,
        recorded_mode: str = "standard",
        java_home: Path | None = None,
        maven: str = "",
    ) -> "Settings":
        """Build settings from BRAID_* names; other names are passed over (XDG_CACHE_HOME excepted).

        Parameters
        ----------
        names : mapping, usually os.environ
        root, python, spark_home, user_home : what the machine says, used where `names` says nothing
        memory_bytes : memory of this machine, decides the profile `auto`
        recorded, recorded_mode : what the last `braid up` chose, if any

        Raises
        ------
        SettingsError : an unknown BRAID_* name, or a value outside its range
        """
        _refuse_unknown(names)
        root = Path(names.get("BRAID_ROOT") or root).absolute()
        choice = PortChoice.parse(names.get("BRAID_PORTS") or recorded_mode)
        return cls(
            home=_absolute(names.get("BRAID_HOME"), root / ".braid", user_home),
            root=root,
            cache=_absolute(names.get("BRAID_CACHE"), _cache_home(names, user_home) / "braid", user_home),
            ports=recorded or _unrecorded(choice),
            port_choice=choice,
            profile=_profile(names.get("BRAID_MEMORY") or "auto", memory_bytes),
            python=python,
            spark_home=spark_home,
            java_home=java_home,
            maven=names.get("BRAID_MAVEN") or maven,
            key_file=Path(key_file).expanduser() if (key_file := names.get("BRAID_KEY_FILE")) else None,
            failpoints=names.get("BRAID_FAILPOINT", "").strip(),
        )

    def with_ports(self, ports: Ports) -> "Settings":
        """Return the same installation on other ports."""
        return replace(self, ports=ports)

    @property
    def heaps(self) -> Heaps:
        """Heap sizes of the memory profile, in MiB."""
        return HEAPS[self.profile]

    @property
    def logs(self) -> Path:
        """Folder of one log file per program."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Folder of pids, sockets, the lock and ports.json."""
        return self.home / "run"

    @property
    def warehouse_dir(self) -> Path:
        """Root of master/ and views/."""
        return self.home / "warehouse"

    @property
    def local(self) -> Path:
        """Templates and the jar list."""
        return self.root / "infrastructure" / "local"

    @property
    def spark_conf_dir(self) -> Path:
        """An empty folder, as Spark's own: whatever lay there would be on the class path, where no archive may have it."""
        return self.spark_home / "no-conf"

    @property
    def class_archive(self) -> Path:
        """Java's archive of Spark's classes, which halves a start; of this environment, as it names its jars."""
        return self.spark_home / "braid-classes.jsa"

    @property
    def class_archive_aside(self) -> Path:
        """Where the archive is written before it takes its name."""
        return self.class_archive.with_suffix(".new")

    @property
    def web_dir(self) -> Path:
        """Third-party JavaScript, taken out of the webjars."""
        return self.jar_dir("web") / "files"

    @property
    def keys(self) -> Path:
        """The file of API keys: a hash of each, never the key."""
        return self.home / "keys" / "api.json"

    def heartbeat(self, job: str) -> Path:
        """Return the file by which a job (`speed-<dataset>`, `batch-<dataset>`) shows that it lives."""
        return self.run / "heartbeat" / job

    def doorbell(self, dataset: str) -> Path:
        """Return the named pipe by which a dataset's stream tells the API of a micro-batch that is visible now."""
        return self.run / "doorbell" / dataset

    def jar_dir(self, jar_set: str) -> Path:
        """Return the folder of a jar set: kafka, cassandra, spark or web."""
        return self.cache / "jars" / JAR_SETS[jar_set]

    @property
    def kafka_bootstrap(self) -> str:
        """host:port of the broker."""
        return f"{LOOPBACK}:{self._chosen('kafka')}"

    @property
    def cassandra_host(self) -> str:
        """Address of Cassandra."""
        return LOOPBACK

    @property
    def cassandra_port(self) -> int:
        """CQL port."""
        return self._chosen("cassandra")

    @property
    def hive_host(self) -> str:
        """Address of HiveServer2."""
        return LOOPBACK

    @property
    def hive_port(self) -> int:
        """Thrift port of HiveServer2."""
        return self._chosen("hive")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Addresses of every store that is used."""
        return (LOOPBACK, self.cassandra_host, self.hive_host)

    def spark_conf(self, app: str) -> dict[str, str]:
        """Return all Spark options of an application.

        Parameters
        ----------
        app : `speed`, `batch`, or any other name (no web page then)

        Returns
        -------
        dict of option to text; `spark.driver.*` options act only before the JVM has started
        """
        return _session_conf(self) | _driver_conf(self, app) | _local_disk_conf()

    def spark_env(self) -> dict[str, str]:
        """Return the environment Spark needs around it, for a child process or os.environ."""
        env = {
            "PYSPARK_PYTHON": str(self.python),
            "PYSPARK_DRIVER_PYTHON": str(self.python),
            "SPARK_HOME": str(self.spark_home),
            "SPARK_CONF_DIR": str(self.spark_conf_dir),
            "SPARK_LOCAL_IP": LOOPBACK,
            "PYTHONPATH": str(self.root / "src"),
        }
        return env | ({"JAVA_HOME": str(self.java_home)} if self.java_home else {})

    def _chosen(self, name: str) -> int:
        number: int = getattr(self.ports, name)
        if number:
            return number
        raise SettingsError(f"{self.run / 'ports.json'}: no {name} port chosen yet; run `braid up` first")


def _session_conf(settings: Settings) -> dict[str, str]:
    return {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(settings.warehouse_dir),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.streaming.numRecentProgressUpdates": "20",
        "spark.speculation": "false",
        # an idle stream looks for new records this often; Spark's own 10 ms cost a quarter of a core for nothing
        "spark.sql.streaming.pollingDelay": "50ms",
    }


def _driver_conf(settings: Settings, app: str) -> dict[str, str]:
    page = {"speed": settings.ports.spark_ui, "batch": settings.ports.batch_ui}.get(app, 0)
    log4j = f"-Dlog4j2.configurationFile={(settings.local / 'log4j2.properties').as_uri()}"
    memory = {"speed": settings.heaps.speed, "batch": settings.heaps.batch}.get(app, settings.heaps.batch)
    return {
        # with the 4: without, a task is never tried again
        "spark.master": f"local[{CORES},4]",
        "spark.driver.memory": f"{memory}m",
        "spark.driver.extraClassPath": str(settings.jar_dir("spark") / "*"),
        "spark.driver.extraJavaOptions": f"-Duser.timezone=UTC {log4j} {_classes(settings, app)}",
        # bindAddress alone is not enough: with jars to serve, SparkContext resolves the host's own name
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.host": LOOPBACK,
        "spark.local.dir": str(settings.home / "spark" / "tmp"),
        "spark.ui.enabled": "true" if page else "false",
        "spark.ui.port": str(page or 4040),
        "spark.ui.showConsoleProgress": "false",
    }


def _classes(settings: Settings, app: str) -> str:
    """Return Java's options for the archive of classes; without a fitting one it starts as ever, and says nothing."""
    if app == "archive":
        return f'"-XX:ArchiveClassesAtExit={settings.class_archive_aside}" -Xlog:cds*=off'
    return f'"-XX:SharedArchiveFile={settings.class_archive}" -Xlog:cds*=off'


def _local_disk_conf() -> dict[str, str]:
    # Hadoop's own local file system forks chmod and readlink for each checkpoint file: 80 ms against 6 ms
    checkpointing = "org.apache.spark.sql.execution.streaming.checkpointing"
    return {
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        "spark.sql.streaming.checkpointFileManagerClass": f"{checkpointing}.FileSystemBasedCheckpointFileManager",
    }


def _refuse_unknown(names: Mapping[str, str]) -> None:
    unknown = sorted(name for name in names if name.startswith("BRAID_") and name not in KNOWN and name != MARK)
    if unknown:
        raise SettingsError(f"environment: unknown setting {unknown[0]}; known are {', '.join(KNOWN)}")


def _absolute(given: str | None, default: Path, user_home: Path) -> Path:
    if not given:
        return default.absolute()
    return (user_home / given[2:] if given.startswith("~/") else Path(given)).absolute()


def _cache_home(names: Mapping[str, str], user_home: Path) -> Path:
    xdg = names.get("XDG_CACHE_HOME", "")
    # the XDG rule: a relative path there counts as unset
    return Path(xdg) if xdg.startswith("/") else user_home / ".cache"


def _unrecorded(choice: PortChoice) -> Ports:
    return replace(Ports() if choice.mode == "standard" else Ports.unset(), **choice.fixed)


def _profile(word: str, memory_bytes: int) -> Profile:
    if word in {"small", "normal"}:
        return "small" if word == "small" else "normal"
    if word == "auto":
        return "small" if memory_bytes < SMALL_BELOW_BYTES else "normal"
    raise SettingsError(f"BRAID_MEMORY: expected auto, small or normal, got {word!r}")
