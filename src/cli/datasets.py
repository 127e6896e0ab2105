"""The part of `braid status` about datasets: how far each has come, asked of Kafka and of the ledger."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braid.settings import Settings

_ASK_MS = 3000
COLUMNS = ["name", "topic end", "head", "lag", "generation", "next batch", "counted", "copies", "dead letters", "alerts"]  # fmt: skip


def facts(settings: "Settings") -> list[dict[str, Any]]:
    """Return the status of every declared dataset; what cannot be asked is among its `problems`."""
    from braid import status
    from braid.adapters import cassandra, kafka
    from braid.adapters.chosen import running
    from braid.adapters.clock import SystemClock
    from braid.errors import SettingsError, StoreUnavailable

    declared = running(settings)
    try:
        with kafka.KafkaLog(settings.kafka_bootstrap, _ASK_MS) as log, cassandra.connect(settings) as store:
            found = [status.of(d, log, store.stores(d).ledger, SystemClock()) for d in declared.values()]
    except (SettingsError, StoreUnavailable) as error:
        found = [{"dataset": name, "problems": [str(error)]} for name in declared]
    return [one | {"batch": _batch(settings, one["dataset"])} for one in found]


def _batch(settings: "Settings", dataset: str) -> dict[str, Any]:
    """Return when the newest batch run started, what became of it, and when the schedule starts the next."""
    from batch_layer.schedule import LAST, NEXT, read
    from braid.instants import iso

    folder = settings.home / "batch" / dataset
    last, due = read(folder / LAST) or {}, read(folder / NEXT) or {}
    return {
        "last_started_at": iso(last["started_us"]) if "started_us" in last else None,
        "last_error": last.get("error"),
        "next_at": iso(due["next_us"]) if "next_us" in due else None,
    }


def row(found: dict[str, Any]) -> list[str]:
    """Return the cells of one dataset under COLUMNS; a cell that is not known is empty."""
    counts, head, generation = (found.get(part) or {} for part in ("counts", "head", "generation"))
    return [
        found["dataset"],
        _number(_end(found)),
        f"seq {head['seq']}" if head else "",
        _lag(found.get("lag") or {}),
        f"{generation['generation']}, cut at seq {generation['cut_seq']}" if generation else "",
        _next(found.get("batch") or {}),
        *(_number(counts.get(name)) for name in ("good", "copies", "dead", "alerts")),
    ]


def _end(found: dict[str, Any]) -> int | None:
    ends = [partition["end"] for partition in found.get("partitions") or []]
    return None if not ends or None in ends else sum(ends)


def _next(batch: dict[str, Any]) -> str:
    failed = "last run failed; " if batch.get("last_error") else ""
    return failed + (batch.get("next_at") or "not scheduled")


def _lag(lag: dict[str, Any]) -> str:
    return "" if lag.get("events") is None else f"{lag['events']:,} events, {lag['seconds']:.1f} s"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
