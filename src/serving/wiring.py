"""The service on the real parts: Cassandra, HiveServer2 and Kafka, opened after the fork by whoever needs them first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flask import Flask

from braid.adapters import cassandra, heartbeat, hive
from braid.adapters.behind import Aside
from braid.adapters.cassandra import Cassandra
from braid.adapters.cassandra.session import NoAnswer
from braid.adapters.chosen import running
from braid.adapters.clock import SystemClock
from braid.adapters.doorbell import Doorbell
from braid.adapters.files import FileGenerations
from braid.adapters.hive import HiveGenerations
from braid.adapters.kafka import KafkaLog
from braid.declaration import Declaration
from braid.errors import LedgerError, StoreUnavailable
from braid.ledger import Offsets
from braid.ports import Acknowledgements, topics_of
from braid.settings import Settings
from serving import operations
from serving.app import create_app
from serving.follower import Stores
from serving.guard import Access
from serving.operations import Operations
from serving.service import Dataset, HeldLog, Service

HIVE_ALIVE_S = 4.0  # a sign of life that takes longer is none
KAFKA_MS = 4_000

T = TypeVar("T")

log = logging.getLogger("braid.serving")


class Once(Generic[T]):
    """Opens something when it is first wanted, again after a failure, and one at a time."""

    def __init__(self, opening: Callable[[], T]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._held: T | None = None

    def get(self) -> T:
        """Return the open thing; raises what opening it raises."""
        with self._lock:
            if self._held is None:
                self._held = self._opening()
            return self._held


def application(settings: Settings, access: Access | None = None) -> Flask:
    """Return the application over every dataset declared under datasets/; each thread opens what it asks.

    Call it in the process that serves, after any fork: it starts threads.
    """
    declarations = running(settings)
    store = Once(lambda: cassandra.connect(settings))
    log = Once(lambda: KafkaLog(settings.kafka_bootstrap, KAFKA_MS))
    datasets = {name: _dataset(settings, d, store, log) for name, d in declarations.items()}
    sign_of_life = hive.connect(settings, HIVE_ALIVE_S)
    service = Service(datasets, sign_of_life.ping, SystemClock(), aside=Aside())
    service.start()
    return create_app(settings, service, access)


def _dataset(settings: Settings, declaration: Declaration, store: Once[Cassandra], log: Once[KafkaLog]) -> Dataset:
    def stores() -> Stores:
        kept = store.get().stores(declaration, following=True)
        try:
            kept.ledger.current()
        except NoAnswer:
            raise
        except StoreUnavailable as error:
            if "does not exist" not in str(error):
                raise
            raise LedgerError(
                f"expected a keyspace {declaration.dataset} in Cassandra, got none; create the dataset: braid up"
            ) from error
        # a connection of its own: the loading thread may use it for long
        generations = HiveGenerations(hive.connect(settings), declaration)
        past = FileGenerations(settings.warehouse_dir, declaration)
        return Stores(kept.ledger, kept.fragments, kept.alerts, generations, past)

    def ends() -> Offsets:
        return log.get().latest(topics_of(declaration.topics))

    watched = Once(lambda: KafkaLog(settings.kafka_bootstrap, KAFKA_MS))  # of its own: a client is for one thread

    def held() -> HeldLog:
        topics = topics_of(declaration.topics)
        return watched.get().earliest(topics), watched.get().topic_ids(topics)

    def jobs() -> dict[str, dict[str, Any] | None]:
        return {job: heartbeat.said(settings.heartbeat(f"{job}-{declaration.dataset}")) for job in ("speed", "batch")}

    def said() -> Acknowledgements:
        return store.get().stores(declaration).acknowledgements

    def looked_after() -> Operations:
        kept = store.get().stores(declaration, following=True)
        return operations.read(kept.ledger, kept.dead_letters, FileGenerations(settings.warehouse_dir, declaration))

    return Dataset(declaration, stores, ends, held, jobs, said, looked_after, _called(settings, declaration.dataset))


def _called(settings: Settings, dataset: str) -> Callable[[float], object] | None:
    """Return what waits for the stream's ring; None where there can be no named pipe, and nothing but time is waited for."""
    try:
        return Doorbell(settings.doorbell(dataset)).wait
    except OSError as error:
        log.warning("%s: no doorbell, answers follow the stream a little later: %s", dataset, error)
        return None
