"""`make why`: the common build beside Braid on one load, with a kill -9, a replay and late events; each one's drift.

Everything is real and runs in a folder of its own that is removed at the end: Kafka, Cassandra, HiveServer2, a Spark
driver for Braid's stream, one for the common build, Braid's API and one run of its batch layer. The truth is counted
from what was sent and acknowledged, each id once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import command
from bench.lab import CHECKOUT, checkout, environ
from bench.why import chart, common_build, load
from bench.why.load import Counts, Sale
from braid.adapters import environment
from braid.adapters.cassandra.session import Session, opened
from braid.adapters.kafka import KafkaLog
from braid.adapters.kafka_producer import EventProducer
from braid.instants import instant_us, iso
from braid.settings import Settings
from stack.layers import layers
from stack.services import services
from stack.status import statuses
from stack.up import down, up

TOPIC = "why-sales"
KILL_S, CUT_S, REPLAY_S = 15.0, 25.0, 40.0
MARKS = {"kill -9 of both drivers": KILL_S, "batch": CUT_S, "replay": REPLAY_S}
ARMS = ("counters", "windows + watermark", "Braid")
_PATIENCE_S = 180.0
_PARTITIONS = 3


@dataclass
class Run:
    """What happens and what was seen of it; every thread appends and none takes away."""

    settings: Settings
    began_s: float = 0.0
    sent: list[tuple[Sale, Any]] = field(default_factory=list)  # with its delivery
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {arm: [] for arm in ARMS})
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    batch_view: Counts = field(default_factory=dict)  # of the common build: windows before `batch_cut`
    batch_cut: int = 0  # Unix seconds
    batch_ends: dict[int, int] = field(default_factory=dict)  # what it had read, by partition

    def acknowledged(self) -> list[tuple[Sale, tuple[int, int]]]:
        """Return every event that the broker acknowledged, with its partition and offset."""
        done = [(sale, d.value) for sale, d in self.sent[:] if d.is_done and d.exception is None]
        return [(sale, (value.partition, value.offset)) for sale, value in done]


def main() -> int:
    """Run it all; 0 when Braid was right in every answer, whatever the others did."""
    parser = argparse.ArgumentParser(prog="make why", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("why.svg"), help="the chart (default: %(default)s)")
    options = parser.parse_args()
    with _stack() as settings, _common_build(settings) as start, _session(settings) as store:
        driver = start()
        run = Run(settings)
        _await("both streams have begun", lambda: _alive(driver) and _progress(settings) and _braid(settings))
        run.began_s = time.time()
        _say(
            f"seed {options.seed}: {load.RATE} events/s for {load.DURATION_S} s, "
            f"{load.LATE:.0%} of them {load.LATE_S[0]}-{load.LATE_S[1]} s late"
        )
        threads = [
            threading.Thread(target=_send, args=(run, options.seed), name="load"),
            threading.Thread(target=_faults, args=(run, driver, start), name="faults"),
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            _look(run, store)
            time.sleep(1)
        _settle(run)
        final = _look(run, store)
    _report(run, final, options)
    return 0 if not run.wrong and load.drift(*final["Braid"]) == 0 else 1


# ---- what runs -------------------------------------------------------------------------------------------------------


@contextmanager
def _stack() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="braid-why-", ignore_cleanup_errors=True) as folder:
        root = checkout(Path(folder) / "root")
        (root / "datasets" / "why.yaml").write_text(load.DECLARATION, "utf-8")
        home = {"BRAID_HOME": str(Path(folder) / "home"), "BRAID_ROOT": str(root), "BRAID_PORTS": "free"}
        settings = environment.load(environ(**home))
        try:
            _say("starting Kafka, Cassandra, HiveServer2, Braid's stream and API")
            settings = up(settings, services)
            with KafkaLog(settings.kafka_bootstrap) as log:
                log.create(TOPIC, _PARTITIONS)
            yield up(settings, lambda s: [*services(s), *(p for p in layers(s, ["why"]) if p.name != "batch-why")])
        finally:
            _say("stopping everything")
            down(settings)


@contextmanager
def _common_build(settings: Settings) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Yield what starts the common build's driver; the one that runs at the end is stopped."""
    home = settings.home / "common_build"
    home.mkdir()
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        names = {"BRAID_HOME": str(settings.home), "BRAID_ROOT": str(settings.root)}
        python_path = {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'src'}"}
        with (home / "log").open("ab") as log:
            command = [str(settings.python), "-m", "bench.why.common_build", TOPIC, str(home)]
            around = os.environ | names | settings.spark_env() | python_path
            running.append(subprocess.Popen(command, env=around, stdout=log, stderr=log, start_new_session=True))
        return running[-1]

    try:
        yield start
    finally:
        for process in running:
            process.terminate()
            process.wait(60)


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    store = opened(settings.cassandra_host, settings.cassandra_port)
    try:
        for statement in common_build.TABLES:
            store.define(statement)
        yield store
    finally:
        store.close()


# ---- what happens ----------------------------------------------------------------------------------------------------


def _send(run: Run, seed: int) -> None:
    with EventProducer(run.settings.kafka_bootstrap) as producer:
        for sale in load.sales(seed, int(run.began_s * 1000), REPLAY_S):
            time.sleep(max(0.0, run.began_s + sale.due_s - time.time()))
            raw = sale.raw(iso(sale.at_ms * 1000))
            run.sent.append((sale, producer.send(TOPIC, sale.id.encode(), raw)))


def _faults(run: Run, driver: subprocess.Popen[bytes], start: Callable[[], subprocess.Popen[bytes]]) -> None:
    _until(run, KILL_S)
    ours = next(s.pid for s in statuses(run.settings, []) if s.name == "speed-why" and s.pid)
    _say("kill -9: Braid's Spark driver and the common build's; both are started again at once")
    os.killpg(os.getpgid(ours), signal.SIGKILL)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    start()
    _until(run, CUT_S)
    _say("batch: Braid's in a process of its own; the common build's counts what the log holds before an event time")
    cut = int(time.time()) // load.WINDOW_S * load.WINDOW_S
    held = run.acknowledged()
    run.batch_view = {cell: n for cell, n in load.counted(sale for sale, _ in held).items() if cell[0] < cut}
    run.batch_ends = {p: max(o for _, (q, o) in held if q == p) + 1 for p in range(_PARTITIONS)}
    run.batch_cut = cut
    file = run.settings.root / "src" / "batch_layer" / "spark_batch.py"
    names = {"BRAID_HOME": str(run.settings.home), "BRAID_ROOT": str(run.settings.root)}
    done = subprocess.run(
        [str(run.settings.python), str(file), "--dataset", "why", "--once"],
        env=os.environ | names | run.settings.spark_env(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        run.wrong.append(f"Braid's batch ended with {done.returncode}: {done.stderr[-500:]}")


def _until(run: Run, seconds: float) -> None:
    time.sleep(max(0.0, run.began_s + seconds - time.time()))


def _settle(run: Run) -> None:
    """Wait until everything that was sent is acknowledged and every arm has read it."""
    _await("every event is acknowledged", lambda: all(d.is_done for _, d in run.sent))
    with KafkaLog(run.settings.kafka_bootstrap) as log:
        ends = {str(partition): end for (_, partition), end in log.latest([TOPIC]).items()}
    _await("the common build has read everything", lambda: _progress(run.settings) == [ends, ends])
    wanted = {f"{TOPIC}:{partition}": end for partition, end in ends.items()}
    _await("Braid has read everything", lambda: (_braid(run.settings) or {})["meta"]["as_of"]["offsets"] == wanted)


def _await(what: str, ask: Callable[[], object]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not ask():
        if time.monotonic() > until:
            raise SystemExit(f"make why: expected within {_PATIENCE_S:.0f} s that {what}; it did not happen")
        time.sleep(0.2)


def _alive(driver: subprocess.Popen[bytes]) -> bool:
    if driver.poll() is not None:
        raise SystemExit(f"make why: the common build's driver ended with {driver.returncode}")
    return True


def _progress(settings: Settings) -> list[dict[str, int] | None] | None:
    """Return the offsets up to which each query of the common build has come, None before both have begun."""
    try:
        told: list[dict[str, int] | None] = json.loads((settings.home / "common_build" / "progress.json").read_bytes())
    except OSError:
        return None
    return told if all(told) else None


# ---- what is answered ------------------------------------------------------------------------------------------------


def _look(run: Run, store: Session) -> dict[str, tuple[Counts, Counts]]:
    """Ask every arm once, note how far each is from the truth, and return (answer, truth) per arm.

    The truth is that of the records which the arm had read: being behind is no error, so it is not drawn as one. The
    common build tells how far it has read only after it has written: what lies between that and everything sent passes.
    """
    answers = {}
    sent = _total(load.truth(sale for sale, _ in run.acknowledged()))
    read = _progress(run.settings)
    if read is not None:
        counters, windows = ({int(p): end for p, end in ends.items()} for ends in read if ends)
        answers["counters"] = (common_build.counts(store, "counters"), _truth(run, counters))
        tail = {cell: n for cell, n in common_build.counts(store, "windows").items() if cell[0] >= run.batch_cut}
        answers["windows + watermark"] = (tail | run.batch_view, _truth(run, windows, run.batch_ends))
    answer = _braid(run.settings)
    if answer is not None:
        ours = {(instant_us(r["window_start"]) // 10**6, r["shop"]): _exact(r) for r in answer["data"]}
        answers["Braid"] = (ours, _check(run, ours, answer["meta"]["as_of"]))
    seconds = time.time() - run.began_s
    for arm, (counts, truth) in answers.items():
        low, high = _total(truth), _total(truth) if arm == "Braid" else max(sent, _total(truth))
        run.lines[arm].append((seconds, _total(counts) - min(max(_total(counts), low), high)))
    return answers


def _truth(run: Run, stream: dict[int, int], batch: dict[int, int] | None = None) -> Counts:
    """Return the truth of what a stream has read, and of what the common build's batch has of the windows before its cut."""
    batch = batch or {}
    return load.truth(
        sale
        for sale, (partition, offset) in run.acknowledged()
        if offset < stream[partition] or (sale.cell[0] < run.batch_cut and offset < batch.get(partition, 0))
    )


def _check(run: Run, ours: Counts, as_of: dict[str, Any]) -> Counts:
    """Return the truth at the offsets that Braid's answer names, after comparing the answer with it."""
    ends = {int(place.rpartition(":")[2]): end for place, end in as_of["offsets"].items()}
    covered = [sale for sale, (partition, offset) in run.acknowledged() if offset < ends[partition]]
    if len(covered) < sum(ends.values()):
        return ours  # an acknowledgement is still on its way to us: this answer cannot be checked
    truth = load.truth(covered)
    run.checked += 1
    if ours != truth:
        run.wrong.append(f"as of {as_of}: {load.drift(ours, truth)} events off")
    return truth


def _exact(row: dict[str, Any]) -> tuple[int, int]:
    return int(row["n"]), int(row["state"]["measures"]["amount"]["sum"])


def _braid(settings: Settings) -> dict[str, Any] | None:
    url = f"http://127.0.0.1:{settings.ports.api}/api/v1/datasets/why/views/sales?state=1&limit=10000"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
    except OSError:
        return None
    return found


def _total(counts: Counts) -> int:
    return sum(n for n, _ in counts.values())


# ---- what is said ----------------------------------------------------------------------------------------------------


def _report(run: Run, final: dict[str, tuple[Counts, Counts]], options: argparse.Namespace) -> None:
    right = load.truth(sale for sale, _ in run.acknowledged())
    print(f"{len(run.acknowledged())} records acknowledged, {_total(right)} events: the truth")
    for arm, (answer, truth) in final.items():
        off = load.drift(answer, truth)
        print(f"{arm:<20} {_total(answer):>7} events, {off:>6} of them wrong ({off / _total(right):.2%})")
    print(f"Braid, all the way: {run.checked} answers checked at their own offsets, {len(run.wrong)} wrong")
    for line in run.wrong[:5]:
        print(f"  {line}")
    title = "Events counted too many or too few, of what each had read"
    options.out.write_text(chart.svg(title, run.lines, MARKS), "utf-8")
    _say(f"chart: {options.out}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command.run(main)
