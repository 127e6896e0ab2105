"""`braid demo`: the whole pipeline once, on the real stack, from files to an answer; then what to look at, and what it costs.

It may be run again, and interrupted and run again. The history has yesterday's times, so a second run on the same day
sends copies, which change no answer; only the newest hour is new. Rows whose files hold their own times and ids are sent as
they are: most of them as history, the last ones after the cut.

Of several datasets each step is taken for all of them before the next one: all streams count side by side, and what comes after
the cuts is sent to all of them at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from braid.adapters.chosen import remember
from braid.declaration import Declaration, Measure, ViewSpec
from braid.errors import BraidError, NotReady, UnknownDataset
from braid.instants import iso
from braid.settings import LOOPBACK, Settings
from cli.measured import Freshness, freshness
from cli.programs import programs
from producer.plan import folder_of
from producer.sources import ids_repeat, made_field
from producer.tables import read_folder
from stack.status import Memory, memory, statuses
from stack.up import Started, up

_PATIENCE_S = 180.0
_ASK_EVERY_S = 0.2

_DAY_S = 86_400
_LAST_ROWS = 3000  # of a file of whole events, at most a fifth of it: what is sent after the cut

Produce = Callable[[list[str]], int]


@dataclass(frozen=True, slots=True)
class Portions:
    """The producer's words, run by run: what is sent before the cut, what comes late, and what is sent after it."""

    history: list[list[str]]
    late: list[list[str]]
    live: list[list[str]]


def run(
    settings: Settings,
    declared: Mapping[str, Declaration],
    dataset: str | None,
    produce: Produce,
    say: Console,
    *,
    as_json: bool = False,
) -> None:
    """Run the demo and leave the stack running.

    Parameters
    ----------
    declared : every declaration, by name; all of them are started
    dataset : the one to show, or `all` that have sample data; by default the first that has some under data/
    produce : the producer's main
    say : where progress and costs go (stderr)
    as_json : stdout holds one JSON object and nothing else

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
    out = say if as_json else _out()
    with redirect_stdout(sys.stderr if as_json else sys.stdout):
        found = _show(settings, shown, produce, api, say, out)
        _print_ways_in(settings, shown, api, out)
    held = memory(settings)
    seconds = time.monotonic() - began
    _print_costs(found, held, seconds, say)
    if as_json:
        told = {
            "home": str(settings.home),
            "seconds": round(seconds, 1),
            "memory": _memory_words(held),
            "datasets": found,
        }
        print(json.dumps(told))  # noqa: T201 - the result goes to stdout


def _show(
    settings: Settings, shown: Sequence[Declaration], produce: Produce, api: str, say: Console, out: Console
) -> dict[str, Any]:
    """Take datasets from their files to an answer, each step for all of them; return what became of each."""
    portions = {d.dataset: _portions(settings, d, time.time()) for d in shown}
    for name, portion in portions.items():
        say.rule(f"[bold]{name}, 2/5 history: the sample data, with times in the past, sent to Kafka")
        for words in portion.history:
            _send(produce, words, say)
    for name in portions:
        _caught_up(api, name, say)
    for name in portions:
        say.rule(f"[bold]{name}, 3/5 batch: archive, recompute, audit against the stream, publish")
        _batch(settings, name)
    say.rule("[bold]4/5 more: late events (older than the history) where there are any, and new ones, after the cut")
    before = {name: _caught_up(api, name, say)["head"]["seq"] for name in portions}
    late = [words for portion in portions.values() for words in portion.late]
    live = [portion.live for portion in portions.values()]
    for words in late:
        _send(produce, words, say)
    _send_together(settings, produce, live, say)
    found: dict[str, Any] = {}
    for declaration in shown:
        name = declaration.dataset
        status = _caught_up(api, name, say)
        say.rule(f"[bold]{name}, 5/5 what each layer holds")
        _print_layers(api, declaration, status, out)
        complete = _print_answer(api, declaration, out)
        fresh = freshness(settings, declaration, before[name])
        found[name] = {
            "counts": status["counts"], "head": status["head"], "generation": status["generation"]["generation"],
            "complete": complete, "freshness": asdict(fresh) if fresh else None,
        }  # fmt: skip
    return found


def _portions(settings: Settings, declaration: Declaration, now_s: float) -> Portions:
    """Return what is sent of a dataset.

    Parameters
    ----------
    now_s : Unix seconds; only its day decides history and late events, so that a second run on a day repeats them
    """
    found = Portions([], [], [])
    for topic in declaration.topics:
        data = read_folder(folder_of(settings.root / "data" / declaration.dataset, topic))
        words = [declaration.dataset, *(["--topic", topic.name] if len(declaration.topics) > 1 else [])]
        if ids_repeat(topic, made_field(topic, data)):
            rows = len(data.rows)
            first = rows - min(rows // 5, _LAST_ROWS)
            found.history.append([*words, "--limit", str(first), "--rate", "3000"])
            found.live.append([*words, "--resume", "--limit", "all", "--rate", "500"])
            continue
        midnight = int(now_s) // _DAY_S * _DAY_S
        yesterday, evening_before = (iso((midnight - s) * 10**6) for s in (_DAY_S, _DAY_S + 4 * 3600))
        found.history.append([*words, "--start", yesterday, "--every", "10s", "--limit", "all", "--rate", "3000"])
        found.late.append([*words, "--start", evening_before, "--every", "20s", "--limit", "500", "--rate", "2000"])
        found.live.append([*words, "--start", "now-1h", "--every", "7s", "--limit", "500", "--rate", "500"])
    return found


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


def _send(produce: Produce, words: list[str], say: Console) -> None:
    say.print(f"  $ braid produce {' '.join(words)}")
    if produce(words):
        raise BraidError("demo: the producer failed; its lines above say why")


def _send_together(settings: Settings, produce: Produce, runs: Sequence[list[list[str]]], say: Console) -> None:
    """Send to every dataset at once, the topics of one after another; each run is a process where there are several."""
    if len(runs) == 1:
        for words in runs[0]:
            _send(produce, words, say)
        return
    waiting = [list(topics) for topics in runs]
    running: dict[int, subprocess.Popen[bytes]] = {}
    while any(waiting) or running:
        for number, topics in enumerate(waiting):
            if topics and number not in running:
                words = topics.pop(0)
                say.print(f"  $ braid produce {' '.join(words)}")
                command = [str(settings.python), "-m", "cli.main", "produce", *words, "--quiet"]
                running[number] = subprocess.Popen(command, stdout=sys.stderr)
        for number, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[number]
            if process.returncode:
                for other in running.values():
                    other.terminate()
                raise BraidError("demo: a producer failed; its lines above say why")
        time.sleep(_ASK_EVERY_S)


def _batch(settings: Settings, dataset: str) -> None:
    command = [
        str(settings.python),
        str(settings.root / "src" / "batch_layer" / "spark_batch.py"),
        "--dataset",
        dataset,
        "--once",
    ]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
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


def _print_layers(api: str, declaration: Declaration, status: Mapping[str, Any], out: Console) -> None:
    table = Table("layer", "where", "holds")
    head, generation = status["head"], status["generation"]
    topics = ", ".join(topic.name for topic in declaration.topics)
    table.add_row("log", f"Kafka, {topics}", f"{sum(p['end'] for p in status['partitions'])} events")
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


def _print_answer(api: str, declaration: Declaration, out: Console) -> bool:
    """Show one merged answer as the sum that it is; return whether it is complete."""
    spec, measure = _summed(declaration)
    url = f"{api}/api/v1/datasets/{declaration.dataset}/views/{spec.name}"
    answers = {layer: ask(f"{url}?layer={layer}&state=1") for layer in ("batch", "speed", "merged")}
    meta, rows = answers["merged"]["meta"], answers["merged"]["data"]
    if measure is not None and rows:
        # a row of both layers, where there is one
        both = {_key(spec, row) for row in answers["batch"]["data"]} & {
            _key(spec, row) for row in answers["speed"]["data"]
        }
        key = min(both, default=_key(spec, rows[0]))
        columns = [column for column, of, _ in spec.finished if of is measure]
        head = f"{spec.name}: {', '.join(key)}"
        table = Table(head, "n", f"Σ {measure.of} ·10^{measure.scale}", "Σx²", *columns)
        for layer, label in (("batch", "batch"), ("speed", "⊕ tail"), ("merged", "= answer")):
            row = next((r for r in answers[layer]["data"] if _key(spec, r) == key), None)
            state = row["state"]["measures"][measure.id] if row else {"n": 0, "sum": 0, "sumsq": 0}
            finished = ["" if row is None or row[c] is None else f"{row[c]:.6f}" for c in columns]
            table.add_row(label, *(str(state[part]) for part in ("n", "sum", "sumsq")), *finished)
        out.print(table)
    out.print(
        f"as of generation {meta['as_of']['generation']} + ledger seq {meta['as_of']['seq']}, complete: {meta['complete']}"
    )
    return bool(meta["complete"])


def _summed(declaration: Declaration) -> tuple[ViewSpec, Measure | None]:
    """Return a view and its measure of sums to be shown, one of all time where there is one."""
    pairs = [(v, m) for v in declaration.views for m in v.measures if m.kind == "moments"]
    return next((p for p in pairs if p[0].window_us == 0), pairs[0] if pairs else (declaration.views[0], None))


def _key(spec: ViewSpec, row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*([row["window_start"]] if spec.window_us else []), *(row[column] for column in spec.by))


def _out() -> Console:
    """Return a console on stdout that keeps tables and commands whole where there is no terminal."""
    return (
        Console(highlight=False, soft_wrap=True)
        if sys.stdout.isatty()
        else Console(highlight=False, soft_wrap=True, width=140)
    )


def _print_ways_in(settings: Settings, shown: Sequence[Declaration], api: str, out: Console) -> None:
    declaration = shown[0]
    out.print(f"\n[bold]Look[/]   http://{LOOPBACK}:{settings.ports.dashboard}/  (the dashboard)")
    paths = [p.path for d in shown for p in d.api]
    paths += [f"/api/v1/datasets/{d.dataset}/views/{d.views[0].name}?layer=merged" for d in shown] + ["/api/v1/status"]
    for n, path in enumerate(paths):
        out.print(f"{'[bold]Ask[/]   ' if n == 0 else '      '} curl -s '{api}{path}'")
    out.print(
        f"[bold]Query[/]  braid shell cassandra   then  SELECT * FROM {declaration.dataset}.{declaration.views[0].name} LIMIT 5;"
    )
    out.print(
        f"       braid shell hive        then  SELECT * FROM {declaration.dataset}.{declaration.views[-1].name} LIMIT 5;"
    )
    running = [s.name for s in statuses(settings, programs(settings)) if s.pid]
    out.print(f"\nStill running: {', '.join(running)}. Stop it all: [bold]make down[/]")


def _print_costs(found: Mapping[str, Any], held: Sequence[Memory], seconds: float, say: Console) -> None:
    """Say what it costs and how fresh it was, on stderr."""
    table = Table("memory of", "programs", "MB")
    for one in held:
        table.add_row(one.kind, str(one.programs), f"{one.pss_mb:,.0f}")
    table.add_row("all", str(sum(one.programs for one in held)), f"{sum(one.pss_mb for one in held):,.0f}")
    say.print(table)
    table = Table("event to commit, after the cut", "events", "p50, s", "p99, s")
    for name, one in found.items():
        if one["freshness"]:
            fresh = Freshness(**one["freshness"])
            table.add_row(name, f"{fresh.events:,}", f"{fresh.p50_s:.2f}", f"{fresh.p99_s:.2f}")
    say.print(table)
    free = psutil.virtual_memory().available // 2**20
    say.print(f"The demo took {seconds:.0f} s; {free} MB of memory are free")


def _memory_words(held: Sequence[Memory]) -> dict[str, Any]:
    by_kind = {one.kind: {"programs": one.programs, "pss_mb": round(one.pss_mb)} for one in held}
    return {"pss_mb": round(sum(one.pss_mb for one in held)), "by_kind": by_kind}
