"""`braid demo`: the whole pipeline once, on the real stack, from files to an answer; then what to look at.

It may be run again, and interrupted and run again. The history has yesterday's times, so a second run on the same day
sends copies, which change no answer; only the newest hour is new.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from braid.adapters.chosen import remember
from braid.declaration import Declaration, ViewSpec
from braid.errors import BraidError, NotReady, UnknownDataset
from braid.instants import iso
from braid.settings import LOOPBACK, Settings
from cli.programs import programs
from stack.status import statuses
from stack.up import Started, up

_PATIENCE_S = 180.0
_ASK_EVERY_S = 0.2

_DAY_S = 86_400

Produce = Callable[[list[str]], int]


def run(
    settings: Settings, declared: Mapping[str, Declaration], dataset: str | None, produce: Produce, say: Console
) -> None:
    """Run the demo and leave the stack running.

    Parameters
    ----------
    declared : every declaration, by name; all of them are started
    dataset : the one to show, or `all` that have sample data; by default the first that has some under data/
    produce : the producer's main
    say : where progress goes (stderr)

    Raises
    ------
    BraidError
        A step failed; what already runs is left running, and the demo can be run again.
    """
    shown = _shown(settings, declared, dataset)
    began = time.monotonic()
    remember(settings, [declaration.dataset for declaration in shown])
    say.rule("[bold]1/5 the stack: Kafka, Cassandra, HiveServer2, a stream and a batch schedule per dataset, the API")
    settings = up(settings, programs, say=say.print, report=_reporter(say))
    api = f"http://{LOOPBACK}:{settings.ports.api}"
    for declaration in shown:
        _show(settings, declaration, produce, api, say)
    _print_ways_in(settings, shown[0], api, began)


def _show(settings: Settings, declaration: Declaration, produce: Produce, api: str, say: Console) -> None:
    """Take one dataset from its files to an answer."""
    name = declaration.dataset
    history, late, live = _portions(time.time())
    say.rule(f"[bold]{name}, 2/5 history: the sample data, with times in the past, sent to Kafka")
    _send(produce, name, history, say)
    status = _caught_up(api, name, say)
    say.rule("[bold]3/5 batch: archive, recompute, audit against the stream, publish")
    _batch(settings, name)
    say.rule("[bold]4/5 more: late events (older than the history) and the last hour, after the cut")
    _send(produce, name, late, say)
    _send(produce, name, live, say)
    status = _caught_up(api, name, say)
    say.rule("[bold]5/5 what each layer holds")
    _print_layers(api, declaration, status)
    _print_answer(api, declaration)


def _portions(now_s: float) -> tuple[list[str], list[str], list[str]]:
    """Return the producer's flags for the history, the late events and the last hour.

    Parameters
    ----------
    now_s : Unix seconds; only its day decides the first two, so that a second run on a day repeats them
    """
    midnight = int(now_s) // _DAY_S * _DAY_S
    yesterday, evening_before = (iso((midnight - s) * 10**6) for s in (_DAY_S, _DAY_S + 4 * 3600))
    history = ["--start", yesterday, "--every", "10s", "--limit", "all", "--rate", "3000"]
    late = ["--start", evening_before, "--every", "20s", "--limit", "500", "--rate", "2000"]
    live = ["--start", "now-1h", "--every", "7s", "--limit", "500", "--rate", "500"]
    return history, late, live


def _shown(settings: Settings, declared: Mapping[str, Declaration], dataset: str | None) -> list[Declaration]:
    with_data = [n for n in declared if (settings.root / "data" / n).is_dir()]
    if dataset == "all" and with_data:
        return [declared[name] for name in with_data]
    name = dataset or next(iter(with_data), None)
    if name is None or name not in declared:
        raise UnknownDataset(
            f"demo: expected a dataset with sample data ({', '.join(with_data) or 'there is none'}), got {name or 'none'}"
        )
    return [declared[name]]


def _reporter(say: Console) -> Callable[[Started], None]:
    def report(started: Started) -> None:
        ports = ", ".join(str(p) for p in started.ports)
        how = "was running" if started.ran_before else f"ready after {started.seconds:.1f} s"
        say.print(f"  {started.name:<20} {how}" + (f", port {ports}" if ports else ""))

    return report


def _send(produce: Produce, dataset: str, flags: list[str], say: Console) -> None:
    say.print(f"  $ braid produce {dataset} {' '.join(flags)}")
    if produce([dataset, *flags]):
        raise BraidError("demo: the producer failed; its lines above say why")


def _batch(settings: Settings, dataset: str) -> None:
    command = [
        str(settings.python),
        str(settings.root / "src" / "batch_layer" / "spark_batch.py"),
        "--dataset",
        dataset,
        "--once",
    ]
    if subprocess.run(command, check=False).returncode:
        raise BraidError("demo: the batch run failed; its lines above say why")


def ask(url: str) -> Any:
    """Return the JSON that the API gives for a URL.

    Raises
    ------
    NotReady
        It does not answer, or not with a success.
    """
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own loopback address
            return json.load(answer)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise NotReady(f"api: {url}: {error}; `braid status` shows what runs") from error


def _caught_up(api: str, dataset: str, say: Console) -> dict[str, Any]:
    """Wait until the ledger's head is the topic's end, showing how far it is; return the dataset's status."""
    until = time.monotonic() + _PATIENCE_S
    with say.status("  the stream counts …") as shown:
        while time.monotonic() < until:
            status: dict[str, Any] = {d["dataset"]: d for d in ask(f"{api}/api/v1/status")["datasets"]}[dataset]
            lag = status["lag"]["events"]
            if lag == 0:
                say.print(f"  the stream stands at the end of the topic: ledger seq {status['head']['seq']}")
                return status
            shown.update(f"  the stream counts: {lag} events to go")
            time.sleep(_ASK_EVERY_S)
    raise NotReady(
        f"demo: expected the stream to reach the topic's end within {_PATIENCE_S:.0f} s, {lag} events are left; see `braid logs speed-{dataset}`"
    )


def _print_layers(api: str, declaration: Declaration, status: Mapping[str, Any]) -> None:
    out = _out()
    table = Table("layer", "where", "holds")
    head, generation = status["head"], status["generation"]
    table.add_row(
        "log", f"Kafka, topic {declaration.topics[0].name}", f"{sum(p['end'] for p in status['partitions'])} events"
    )
    table.add_row("speed", "Cassandra, ledger", f"seq {head['seq']}: {_counts(status)}")
    table.add_row(
        "batch",
        "Parquet and Hive",
        f"generation {generation['generation']}, everything through seq {generation['cut_seq']}",
    )
    for spec in declaration.views:
        rows = {
            layer: len(ask(f"{api}/api/v1/datasets/{declaration.dataset}/views/{spec.name}?layer={layer}")["data"])
            for layer in ("batch", "speed", "merged")
        }
        table.add_row(
            "answers", spec.name, f"{rows['batch']} rows of the batch ⊕ {rows['speed']} of the tail = {rows['merged']}"
        )
    out.print(table)


def _counts(status: Mapping[str, Any]) -> str:
    totals = status["counts"]
    return (
        f"{totals['good']} counted, {totals['copies']} copies, {totals['dead']} dead letters, {totals['alerts']} alerts"
    )


def _print_answer(api: str, declaration: Declaration) -> None:
    """Show one merged answer as the sum that it is."""
    spec = next((v for v in declaration.views if v.window_us == 0), declaration.views[0])
    url = f"{api}/api/v1/datasets/{declaration.dataset}/views/{spec.name}"
    answers = {layer: ask(f"{url}?layer={layer}&state=1") for layer in ("batch", "speed", "merged")}
    key = tuple(answers["merged"]["data"][0][column] for column in spec.by)
    measure = spec.measures[0]
    out = _out()
    table = Table(
        f"{spec.name}: {', '.join(key)}",
        "n",
        f"Σ {measure.of} ·10^{measure.scale}",
        "Σx²",
        *(c for c, _, _ in _columns(spec)),
    )
    for layer, label in (("batch", "batch"), ("speed", "⊕ tail"), ("merged", "= answer")):
        row = next((r for r in answers[layer]["data"] if tuple(r[c] for c in spec.by) == key), None)
        if row is None:
            table.add_row(label, "0", "0", "0")
            continue
        state = row["state"]["measures"][measure.name]
        table.add_row(
            label,
            *(str(state[part]) for part in ("n", "sum", "sumsq")),
            *(f"{row[c]:.6f}" for c, _, _ in _columns(spec)),
        )
    out.print(table)
    meta = answers["merged"]["meta"]
    out.print(
        f"as of generation {meta['as_of']['generation']} + ledger seq {meta['as_of']['seq']}, complete: {meta['complete']}"
    )


def _out() -> Console:
    """Return a console on stdout that keeps tables and commands whole where there is no terminal."""
    return (
        Console(highlight=False, soft_wrap=True)
        if sys.stdout.isatty()
        else Console(highlight=False, soft_wrap=True, width=140)
    )


def _columns(spec: ViewSpec) -> list[tuple[str, Any, str]]:
    return [c for c in spec.finished if c[1] is spec.measures[0]]


def _print_ways_in(settings: Settings, declaration: Declaration, api: str, began: float) -> None:
    out = _out()
    out.print(f"\n[bold]Look[/]   http://{LOOPBACK}:{settings.ports.dashboard}/  (the dashboard)")
    paths = [p.path for p in declaration.api]
    paths += [
        f"/api/v1/datasets/{declaration.dataset}/views/{declaration.views[0].name}?layer=merged",
        "/api/v1/status",
    ]
    for n, path in enumerate(paths):
        out.print(f"{'[bold]Ask[/]   ' if n == 0 else '      '} curl -s '{api}{path}'")
    out.print(
        f"[bold]Query[/]  braid shell cassandra   then  SELECT * FROM {declaration.dataset}.{declaration.views[0].name} LIMIT 5;"
    )
    out.print(
        f"       braid shell hive        then  SELECT * FROM {declaration.dataset}.{declaration.views[-1].name} LIMIT 5;"
    )
    running = [s for s in statuses(settings, programs(settings)) if s.pid]
    used = sum(s.memory_mb for s in running)
    free = psutil.virtual_memory().available // 2**20
    out.print(f"\nStill running: {', '.join(s.name for s in running)}")
    out.print(
        f"They use {used} MB of memory ({free} MB are free); the demo took {time.monotonic() - began:.0f} s. Stop it all: [bold]make down[/]"
    )
