"""One running Braid under load that is broken in many ways, one after another, and checked after each.

A dataset of its own, on the real stack, with the real supervisor over the stream and the API. The processes are armed
through a file (`BRAID_FAILPOINT=@FILE`), so that no restart is needed to choose where the next one dies.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from braid.adapters import cassandra, failpoints
from braid.adapters.cassandra import Cassandra
from braid.errors import StoreUnavailable
from braid.settings import Settings
from stack import home
from stack.supervisor import Supervisor
from tests.services.faults.checks import Checks
from tests.services.faults.load import Load
from tests.services.faults.recorder import Recorder, Sample
from tests.services.pipeline import Pipeline, by_hand, root_with, running

CHECKOUT = Path(__file__).parents[3]
DATASET, TOPIC = "faults", "fault-events"
SPEED = f"speed-{DATASET}"
RECEIPTS = 1000  # kept of a run, for `braid verify -`
PATIENCE_S = 300  # on a machine that is busy with other things too


@dataclass
class Tally:
    """What a run reports."""

    seed: int
    kills: Counter = field(default_factory=Counter)
    rows: list[dict] = field(default_factory=list)
    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    events: dict = field(default_factory=dict)
    seconds: int = 0
    producer_copies: int = 0
    receipts: int = 0  # of answers during the faults, held against the log at the end, as a stranger would
    receipts_equal: int = 0

    def line(self) -> str:
        """Return the run in one line."""
        hits = ", ".join(f"{name} {n}" for name, n in sorted(self.kills.items()))
        return (
            f"seed {self.seed}: {self.events.get('sent', 0)} events, {self.events.get('acknowledged', 0)} acknowledged, "
            f"{self.answers} answers checked, {len(self.wrong)} wrong"
            + (f"; {self.receipts_equal} of {self.receipts} receipts equal" if self.receipts else "")
            + f"; hits: {hits}"
        )

    def write(self, path: Path) -> None:
        """Write the run as JSON."""
        told = dataclasses.asdict(self) | {"kills": dict(sorted(self.kills.items()))}
        path.write_text(json.dumps(told, indent=1, default=str) + "\n", "utf-8")


class Campaign:
    """The running Braid, its load and its recorder; rows break it through the verbs here.

    Parameters
    ----------
    stack : settings of the running services
    folder : for the root with the one declaration, empty
    seed : decides the load and every choice of the rows
    """

    def __init__(self, stack: Settings, folder: Path, seed: int, rate_per_s: float = 40) -> None:
        text = by_hand((CHECKOUT / "datasets" / "landcover.yaml").read_text("utf-8"))
        for old, new in (("dataset: landcover", f"dataset: {DATASET}"), ("image-events", TOPIC)):
            assert text.count(old) == 1
            text = text.replace(old, new)
        root = root_with(folder / "root", CHECKOUT, {DATASET: text})
        self.random = random.Random(f"faults {seed}")
        self.tally = Tally(seed)
        self.told = stack.run / "failpoint"
        self.told.write_text("", "utf-8")
        settings = dataclasses.replace(stack, root=root, failpoints=f"@{self.told}")
        self._open = ExitStack()
        self.up = self._open.enter_context(running(stack, settings))
        self.settings = self.up()
        self.pipeline = Pipeline(self.settings)
        self.declaration = self.pipeline.declared[DATASET]
        self.store: Cassandra = cassandra.connect(self.settings)
        self.stores = self.store.stores(self.declaration)
        partitions = len(self.pipeline.ends(DATASET))
        self.load = Load(self.settings.kafka_bootstrap, self.declaration, seed, partitions, rate_per_s)
        self.recorder = Recorder(self.pipeline, DATASET, Sample(RECEIPTS, random.Random(f"receipts {seed}")))
        self.healed_s: list[float] = []  # of this row: from a fault to the next micro-batch
        self._broken_s = 0.0
        self.log_bytes = 0  # of the stream's log, before this row
        self.checks = Checks(self)

    def close(self) -> None:
        """Stop what this campaign has started; the services stay."""
        self.load.close()
        self.recorder.close()
        self.store.close()
        self.disarm()
        self._open.close()

    # ---- a row ---------------------------------------------------------------------------------------------------

    def row(self, name: str, moment: str, run: Callable[[Campaign, str], None], allowed: str = "") -> dict[str, Any]:
        """Run one row under load, then hold everything against the truth; return what it took.

        Parameters
        ----------
        allowed : what this row explains: `cut` (no connection), `503`, `back` (an older as_of)
        """
        began = time.monotonic()
        log = self.settings.logs / f"{SPEED}.log"
        self.log_bytes = len(log.read_text("utf-8", "replace")) if log.exists() else 0
        self.load.go()
        self.flows()
        try:
            run(self, moment)
        finally:
            self.disarm()
        broke = time.monotonic()
        self.rested()
        found = self.checks.after(name, allowed)
        self.tally.events = self.load.counts()
        healed, self.healed_s = self.healed_s, []
        told = {"row": name, "moment": moment, "seconds": round(time.monotonic() - began, 1), "healed_s": healed,
                "of them checking": round(time.monotonic() - broke, 1), **found}  # fmt: skip
        self.tally.rows.append(told)
        self.tally.answers += found["answers"]
        self.tally.wrong += found["wrong"]
        sys.stdout.write(f"  {json.dumps(told)}\n")
        sys.stdout.flush()
        assert not found["wrong"], (f"seed {self.tally.seed}", name, moment, found["wrong"][:5])
        return found

    def verify_receipts(self) -> str:
        """Let `braid verify -` recompute answers that were given during the faults; return what differs, or nothing."""
        done = subprocess.run(
            [str(self.settings.python), "-m", "cli.main", "verify", "-", "--json"],
            input="\n".join(self.recorder.receipts.held), env=self.environ(), capture_output=True, text=True, check=False,
            timeout=600,
        )  # fmt: skip
        if done.returncode not in {0, 1}:
            return done.stderr
        told = json.loads(done.stdout)
        self.tally.receipts, self.tally.receipts_equal = told["receipts"], told["equal"]
        return "".join(f"receipt {number}: {text}\n" for number, text in told["different"].items())

    def rested(self) -> None:
        """Stop the load and wait until every event is in the answer."""
        self.load.pause()
        self.revive()
        self.pipeline.caught_up(DATASET, PATIENCE_S)

    def flows(self, more: int = 2) -> None:
        """Wait until some more micro-batches of the load are in the answer."""
        self.revive()
        seq = self.seq()
        self.eventually("the load is counted", lambda: self.seq() >= seq + more)

    def seq(self) -> int:
        """Return head's seq, once Cassandra answers."""

        def head() -> int:
            try:
                return self.stores.ledger.head().seq + 1
            except StoreUnavailable:
                return 0

        return self.eventually("the ledger answers", head) - 1

    def eventually(self, what: str, ask: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Wait for the first truthy answer."""
        return self.pipeline.eventually(what, ask, patience_s)

    # ---- failpoints ----------------------------------------------------------------------------------------------

    def arm(self, *entries: str) -> None:
        """Arm the running processes with these entries and no others."""
        for entry in entries:
            failpoints.mark(self.settings.run, entry).unlink(missing_ok=True)
        aside = self.told.with_suffix(".new")
        aside.write_text(",".join(entries), "utf-8")
        aside.replace(self.told)

    def disarm(self) -> None:
        """Arm nothing."""
        self.arm()

    def fired(self, entry: str) -> bool:
        """Return whether an entry has fired."""
        return failpoints.mark(self.settings.run, entry).exists()

    def fires(self, *entries: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until each entry has fired, and count it."""
        for entry in entries:
            self.eventually(f"{entry} fires", lambda entry=entry: self.fired(entry), patience_s)
            self.hit(entry.rsplit(":", 1)[0] if entry.count(":") == 2 else entry)

    def hit(self, what: str) -> None:
        """Count a kill or another fault by name; it happened just now."""
        self.tally.kills[what] += 1
        self._broken_s = time.monotonic()

    # ---- processes -----------------------------------------------------------------------------------------------

    def pid(self, program: str) -> int:
        """Return the pid of a supervised program, once it runs."""
        return self.eventually(f"{program} runs", lambda: self._pid(program))

    def _pid(self, program: str) -> int:
        state = self.keeper().states().get(program)
        return state.pid if state and state.state in {"STARTING", "RUNNING"} else 0

    def keeper(self) -> Supervisor:
        """Return the running supervisor."""
        return self.eventually("the supervisor answers", lambda: Supervisor.of(self.settings))

    def kill(self, program: str) -> int:
        """Send SIGKILL to a supervised program; return the pid it had."""
        pid = self.pid(program)
        os.kill(pid, signal.SIGKILL)
        self.hit(f"kill {program.split('-', maxsplit=1)[0]}")
        return pid

    def replaced(self, program: str, pid: int, patience_s: float = 120) -> int:
        """Wait until the supervisor has started a program again; return its new pid."""

        def another() -> int:
            self.revive()
            found = self._pid(program)
            return found if found != pid else 0

        return self.eventually(f"{program} comes back", another, patience_s)

    def revive(self) -> None:
        """Start again what the supervisor gave up after five deaths in ten minutes, as a person would with `up`."""
        keeper = self.keeper()
        for name, state in keeper.states().items():
            if state.state in {"STOPPED", "FATAL", "EXITED"} and name in {SPEED, "api", "kafka", "cassandra", "hive"}:
                (self.settings.run / "gave-up" / f"{name}.json").unlink(missing_ok=True)
                keeper.start(name)
                self.hit(f"given up and started by hand: {name.split('-')[0]}")

    def streaming(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until the load is counted again; note how long after the fault that was."""
        seq, broken_s = self.seq(), self._broken_s
        self.load.go()

        def goes_on() -> bool:
            self.revive()
            return self.seq() > seq

        self.eventually("the stream goes on", goes_on, patience_s)
        self.healed_s.append(round(time.monotonic() - broken_s, 1))

    def answered(self, what: str, ask: Callable[[Any], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait until some answer recorded from now on is as `ask` wants it."""
        begin = time.monotonic()
        self.eventually(what, lambda: any(a.at_s >= begin and ask(a) for a in list(self.recorder.answers)), patience_s)

    def orphans(self) -> list[str]:
        """Return the processes of this home that are no descendants of its supervisor."""
        keeper = int((self.settings.run / "supervisord.pid").read_text())
        known = {keeper, os.getpid(), *(p.pid for p in psutil.Process(keeper).children(recursive=True))}
        return [f"{p.pid} {p.name()}" for p in home.marked(self.settings) if p.pid not in known]

    # ---- batch and producer --------------------------------------------------------------------------------------

    def environ(self, entry: str = "") -> dict[str, str]:
        """Return the environment of a job that is started here, with its own failpoint."""
        mine = {failpoints.VARIABLE: entry} if entry else {}
        if entry:
            failpoints.mark(self.settings.run, entry).unlink(missing_ok=True)
        return self.pipeline.environ | self.settings.spark_env() | mine

    def batch(self, entry: str = "", *flags: str) -> subprocess.CompletedProcess:
        """Run one batch to its end, whatever that is."""
        return subprocess.run(
            self.command("batch_layer/spark_batch.py", "--dataset", DATASET, "--json", *flags),
            env=self.environ(entry), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def command(self, file: str, *arguments: str) -> list[str]:
        """Return the command of one of the plain scripts."""
        return [str(self.settings.python), str(self.settings.root / "src" / file), *arguments]
