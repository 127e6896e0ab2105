"""Is it ready? Each service is asked in its own protocol, for a port that is open answers nothing yet.

A function returns when the service has answered and raises `NotReady` with its words otherwise.
"""

import logging
import time
from collections.abc import Callable

from braid.errors import NotReady
from braid.settings import Settings
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.policies import RoundRobinPolicy
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from pyhive import hive as hive2
from pyhive.exc import Error as HiveError
from thrift.Thrift import TException

ASK_S = 5.0
# "not yet" is expected here a hundred times: without a handler of their own these would print to stderr each time
for _client in ("kafka", "cassandra", "pyhive", "thrift"):
    logging.getLogger(_client).addHandler(logging.NullHandler())


def kafka(settings: Settings) -> None:
    """Ask the broker for its cluster: one controller and one broker must be known."""
    try:
        client = KafkaAdminClient(
            bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=5000, bootstrap_timeout_ms=2000
        )
        try:
            described = client.describe_cluster()
        finally:
            client.close()
    except (KafkaError, OSError, ValueError) as error:
        raise NotReady(f"kafka at {settings.kafka_bootstrap}: {_words(error)}") from error
    if not described.get("brokers"):
        raise NotReady(f"kafka at {settings.kafka_bootstrap}: knows no broker yet")


def cassandra(settings: Settings) -> None:
    """Ask Cassandra for its release by CQL."""
    where = f"{settings.cassandra_host}:{settings.cassandra_port}"
    cluster = Cluster(
        [settings.cassandra_host],
        port=settings.cassandra_port,
        connect_timeout=ASK_S,
        control_connection_timeout=ASK_S,
        protocol_version=5,
        load_balancing_policy=RoundRobinPolicy(),
    )
    try:
        cluster.connect().execute("SELECT release_version FROM system.local", timeout=ASK_S).one()
    except (NoHostAvailable, OSError) as error:
        raise NotReady(f"cassandra at {where}: {_words(error)}") from error
    finally:
        cluster.shutdown()


def hive(settings: Settings) -> None:
    """Ask HiveServer2 a query that reaches the metastore: a server whose Derby failed to open still listens."""
    where = f"{settings.hive_host}:{settings.hive_port}"
    try:
        connection = hive2.connect(host=settings.hive_host, port=settings.hive_port, username="braid")
        try:
            cursor = connection.cursor()
            cursor.execute("SHOW DATABASES")
            cursor.fetchall()
        finally:
            connection.close()
    except (TException, OSError, HiveError) as error:
        raise NotReady(f"hive at {where}: {_words(error)}") from error


def wait(ask: Callable[[], None], timeout_s: float, alive: Callable[[], str | None], every_s: float = 0.25) -> float:
    """Ask until there is an answer.

    Parameters
    ----------
    ask : raises NotReady as long as there is none
    timeout_s : how long to ask, seconds
    alive : a reason to stop asking at once (the process has died for good), or None
    every_s : pause between two questions, seconds

    Returns
    -------
    float, seconds waited

    Raises
    ------
    NotReady : time is over, or `alive` gave a reason
    """
    started = time.monotonic()
    while True:
        try:
            ask()
        except NotReady as error:
            waited = time.monotonic() - started
            reason = alive()
            if reason is not None:
                raise NotReady(reason) from error
            if waited > timeout_s:
                raise NotReady(f"{error} (asked for {waited:.0f} s)") from error
            time.sleep(every_s)
        else:
            return time.monotonic() - started


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
