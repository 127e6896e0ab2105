"""The part of `braid status` about datasets: how far each has come, asked of Kafka and of the ledger."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braid.settings import Settings

_ASK_MS = 3000
COLUMNS = ["name", "topic end", "head", "lag", "generation", "counted", "copies", "dead letters", "alerts"]


def facts(settings: "Settings") -> list[dict[str, Any]]:
    """Return the status of every declared dataset; what cannot be asked is among its `problems`."""
    from braid import status
    from braid.adapters import cassandra, kafka
    from braid.adapters.clock import SystemClock
    from braid.declaration import load_all
    from braid.errors import SettingsError, StoreUnavailable

    declared = load_all(settings.root / "datasets")
    try:
        with kafka.KafkaLog(settings.kafka_bootstrap, _ASK_MS) as log, cassandra.connect(settings) as store:
            return [status.of(d, log, store.stores(d).ledger, SystemClock()) for d in declared.values()]
    except (SettingsError, StoreUnavailable) as error:
        return [{"dataset": name, "problems": [str(error)]} for name in declared]


def row(found: dict[str, Any]) -> list[str]:
    """Return the cells of one dataset under COLUMNS; a cell that is not known is empty."""
    counts, head, generation = (found.get(part) or {} for part in ("counts", "head", "generation"))
    return [
        found["dataset"],
        _number(_end(found)),
        f"seq {head['seq']}" if head else "",
        _lag(found.get("lag") or {}),
        f"{generation['generation']}, cut at seq {generation['cut_seq']}" if generation else "",
        *(_number(counts.get(name)) for name in ("good", "copies", "dead", "alerts")),
    ]


def _end(found: dict[str, Any]) -> int | None:
    ends = [partition["end"] for partition in found.get("partitions") or []]
    return None if not ends or None in ends else sum(ends)


def _lag(lag: dict[str, Any]) -> str:
    return "" if lag.get("events") is None else f"{lag['events']:,} events, {lag['seconds']:.1f} s"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
