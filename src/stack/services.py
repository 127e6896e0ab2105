"""Kafka, Cassandra and HiveServer2 as programs: their configuration, their command, their question."""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from string import Template

from braid.adapters.environment import require_java
from braid.errors import StackError
from braid.settings import LOOPBACK, Settings
from stack import jars, readiness
from stack.programs import Program


def services(settings: Settings) -> list[Program]:
    """Return the three services, which start together.

    Raises
    ------
    MissingPrerequisite : there is no Java 17
    """
    return [kafka(settings), cassandra(settings), hive(settings)]


def kafka(settings: Settings) -> Program:
    """Return the broker: KRaft, one node, loopback."""
    properties = settings.run / "kafka.properties"
    return Program(
        name="kafka",
        argv=(*_java(settings, settings.heaps.kafka), *_kafka_options(settings), "kafka.Kafka", str(properties)),
        env=_java_env(settings),
        ports={"kafka": settings.ports.kafka, "controller": settings.ports.controller},
        prepare=lambda: _prepare_kafka(settings, properties),
        ready=lambda: readiness.kafka(settings),
        heap_mb=settings.heaps.kafka,
    )


def cassandra(settings: Settings) -> Program:
    """Return Cassandra: one node, loopback, no JMX port."""
    config = settings.run / "cassandra.yaml"
    folder = settings.jar_dir("cassandra")
    return Program(
        name="cassandra",
        argv=(
            *_java(settings, settings.heaps.cassandra),
            f"@{settings.local / 'cassandra-jvm.options'}",
            f"-javaagent:{folder / _jamm(settings)}",
            f"-Dcassandra.config={config.as_uri()}",
            f"-Dcassandra.storagedir={settings.home / 'cassandra'}",
            f"-Dlogback.configurationFile={settings.local / 'cassandra-logback.xml'}",
            *("-cp", str(folder / "*"), "org.apache.cassandra.service.CassandraDaemon"),
        ),
        env=_java_env(settings),
        ports={"cassandra": settings.ports.cassandra, "storage": settings.ports.storage},
        prepare=lambda: _prepare_cassandra(settings, config),
        ready=lambda: readiness.cassandra(settings),
        ready_timeout_s=180.0,
        stopwaitsecs=60,
        heap_mb=settings.heaps.cassandra,
    )


def hive(settings: Settings) -> Program:
    """Return HiveServer2: Spark's Thrift server, its metastore embedded on Derby."""
    conf = [f"--conf={name}={value}" for name, value in _hive_conf(settings).items()]
    return Program(
        name="hive",
        argv=(
            str(settings.spark_home / "bin" / "spark-submit"),
            *("--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"),
            *("--master", "local[1]", "--name", "braid-hive", *conf, "spark-internal"),
        ),
        env=settings.spark_env(),
        ports={"hive": settings.ports.hive},
        prepare=lambda: _prepare_hive(settings),
        ready=lambda: readiness.hive(settings),
        ready_timeout_s=180.0,
        stopwaitsecs=60,
        heap_mb=settings.heaps.hive,
    )


def _java(settings: Settings, heap_mb: int) -> tuple[str, ...]:
    java = str(require_java(settings) / "bin" / "java")
    temporary = settings.run / "tmp"
    return (
        java,
        f"-Xmx{heap_mb}m",
        "-Duser.timezone=UTC",
        f"-Djava.io.tmpdir={temporary}",
        "-XX:+ExitOnOutOfMemoryError",
    )


def _java_env(settings: Settings) -> dict[str, str]:
    return {"JAVA_HOME": str(require_java(settings))}


def _kafka_options(settings: Settings) -> tuple[str, ...]:
    return (
        f"-Dlog4j2.configurationFile={(settings.local / 'log4j2.properties').as_uri()}",
        *("-Djava.net.preferIPv4Stack=true", "-cp", str(settings.jar_dir("kafka") / "*")),
    )


def _jamm(settings: Settings) -> str:
    # by the list, for the jars may not be there yet: Cassandra measures its memtables with this agent
    return next(name for name in jars.listed(settings)["cassandra"] if name.startswith("jamm-"))


def _prepare_kafka(settings: Settings, properties: Path) -> None:
    data = settings.home / "kafka"
    _fill(
        settings.local / "kafka.properties",
        properties,
        data=str(data),
        kafka_port=str(settings.ports.kafka),
        controller_port=str(settings.ports.controller),
    )
    if (data / "meta.properties").exists():
        return
    cluster = cluster_id(uuid.uuid4().bytes)
    command = [
        *(*_java(settings, 128), "-XX:TieredStopAtLevel=1", *_kafka_options(settings), "kafka.tools.StorageTool"),
        *("format", "--ignore-formatted", "-t", cluster, "-c", str(properties)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise StackError(f"kafka: {data}: cannot be formatted: {''.join(last)}")


def cluster_id(number: bytes) -> str:
    """Return 16 bytes as Kafka writes a cluster's id; never with a dash first, which its tool takes for a flag.

    Examples
    --------
    >>> cluster_id(bytes([0xF8] + [0] * 15)), cluster_id(bytes(16))
    ('A-AAAAAAAAAAAAAAAAAAAA', 'AAAAAAAAAAAAAAAAAAAAAA')
    """
    text = urlsafe_b64encode(number).decode().rstrip("=")
    return f"A{text[:-1]}" if text.startswith("-") else text


def _prepare_cassandra(settings: Settings, config: Path) -> None:
    _fill(
        settings.local / "cassandra.yaml",
        config,
        data=str(settings.home / "cassandra"),
        cassandra_port=str(settings.ports.cassandra),
        storage_port=str(settings.ports.storage),
        memtable_mib=str(settings.heaps.cassandra // 8),
    )


def _hive_conf(settings: Settings) -> dict[str, str]:
    base = settings.home / "hive"
    conf = settings.spark_conf("hive")
    # Spark cuts this option at spaces, and takes quotes as a shell does
    return {
        **{key: value for key, value in conf.items() if key.startswith("spark.sql.")},
        # the class path of the jobs, so that the archive of their classes fits
        "spark.driver.extraClassPath": conf["spark.driver.extraClassPath"],
        "spark.driver.memory": f"{settings.heaps.hive}m",
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.host": LOOPBACK,
        "spark.driver.extraJavaOptions": (
            f'{conf["spark.driver.extraJavaOptions"]} "-Djava.io.tmpdir={settings.run / "tmp"}"'
            f' "-Dderby.stream.error.file={base / "derby.log"}" -XX:+ExitOnOutOfMemoryError'
        ),
        "spark.local.dir": str(base / "tmp"),
        "spark.ui.enabled": "false",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.hive.thriftServer.singleSession": "false",
        "spark.hadoop.hive.server2.thrift.bind.host": LOOPBACK,
        "spark.hadoop.hive.server2.thrift.port": str(settings.ports.hive),
        "spark.hadoop.hive.metastore.uris": "",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={base / 'metastore'};create=true",
        "spark.hadoop.hive.exec.scratchdir": str(base / "scratch"),
        "spark.hadoop.hive.exec.local.scratchdir": str(base / "tmp"),
        "spark.hadoop.hive.downloaded.resources.dir": str(base / "tmp" / "resources"),
        "spark.hadoop.hive.querylog.location": str(base / "tmp" / "query"),
        "spark.hadoop.hive.server2.logging.operation.log.location": str(base / "tmp" / "operation"),
    }


def _prepare_hive(settings: Settings) -> None:
    for folder in (settings.home / "hive" / "tmp", settings.warehouse_dir):
        folder.mkdir(parents=True, exist_ok=True)


def _fill(template: Path, target: Path, **values: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(Template(template.read_text("utf-8")).substitute(values), "utf-8")
