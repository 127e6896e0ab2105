"""Is it ready? Each service is asked in its own protocol, for a port that is open answers nothing yet.

A function returns when the service has answered and raises `NotReady` with its words otherwise.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from braid.adapters import hive as hive_adapter
from braid.adapters.cassandra.session import opened
from braid.adapters.kafka import KafkaLog
from braid.errors import NotReady, StoreUnavailable
from braid.settings import Settings

ASK_S = 5.0
# "not yet" is expected here a hundred times: without a handler of their own these would print to stderr each time
for _client in ("kafka", "cassandra", "pyhive", "thrift"):
    logging.getLogger(_client).addHandler(logging.NullHandler())


def kafka(settings: Settings) -> None:
    """Ask the broker for its cluster: one broker must be known."""
    with _not_yet(), KafkaLog(settings.kafka_bootstrap, timeout_ms=int(ASK_S * 1000)) as log:
        log.ping()


def cassandra(settings: Settings) -> None:
    """Ask Cassandra for its release by CQL."""
    with _not_yet():
        session = opened(settings.cassandra_host, settings.cassandra_port)
        try:
            session.run("SELECT release_version FROM system.local")
        finally:
            session.close()


def hive(settings: Settings) -> None:
    """Ask HiveServer2 a query that reaches the metastore: a server whose Derby failed to open still listens."""
    with _not_yet(), hive_adapter.connect(settings, ASK_S) as connection:
        connection.rows("SHOW DATABASES", "the databases")


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


@contextmanager
def _not_yet() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise NotReady(str(error)) from error
