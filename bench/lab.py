"""Where measurements happen: a stack of its own in a folder that is removed, processes of the arms, and what is asked of them."""

from __future__ import annotations

import http.client
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from bench import events
from braid.adapters import environment, heartbeat
from braid.adapters.kafka import KafkaLog
from braid.declaration import Declaration
from braid.declaration_reader import parse
from braid.errors import StoreUnavailable
from braid.settings import LOOPBACK, Settings
from stack import home
from stack.layers import layers
from stack.programs import Program
from stack.services import services
from stack.supervisor import Supervisor
from stack.up import down, up

CHECKOUT = Path(__file__).parents[1]
PARTITIONS = 3
UNLIMITED = "1000000"  # requests a second: the API's own bound is not what is measured
PATIENCE_S = 120.0


class Failed(Exception):
    """A measurement that could not be made; its text stands where the number would."""


def environ(**more: str) -> dict[str, str]:
    """Return the environment without the caller's own BRAID_* names but the cache and the repository."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BRAID_") or k in {"BRAID_CACHE", "BRAID_MAVEN"}}
    return kept | more


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder for everything of one run. It is removed."""
    with tempfile.TemporaryDirectory(prefix="braid-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def checkout(root: Path) -> Path:
    """Make a root without any dataset whose code is this checkout's."""
    root.mkdir()
    for part in ("src", "infrastructure", "dashboard", "data", "bench", "pyproject.toml"):
        (root / part).symlink_to(CHECKOUT / part)
    (root / "datasets").mkdir()
    return root


class Lab:
    """Kafka, Cassandra and HiveServer2 of the benchmark's own, started when they are first wanted."""

    def __init__(self, where: Path, *, strict: bool = True) -> None:
        self.where = where
        self.strict = strict  # whether a slice in which the machine was another is void
        self.kept: tuple[ExitStack, Any] | None = None  # what runs on for the next metric (`slices.warm`)
        self.spins: list[float] = []  # seconds of a fixed spin in every slice so far
        self.root = checkout(where / "root")
        self.environ = environ(BRAID_HOME=str(where / "home"), BRAID_ROOT=str(self.root), BRAID_PORTS="free")
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the running services."""
        if self._settings is None:
            say("starting Kafka, Cassandra and HiveServer2")
            self._settings = environment.load(self.environ)
            self._settings = up(self._settings, services)
        return self._settings

    def quiet(self) -> Settings:
        """Return settings for what needs no service."""
        return self._settings or environment.load(self.environ)

    def close(self) -> None:
        """Stop whatever runs."""
        self.let_go()
        if self._settings is not None:
            down(self._settings)
            self._settings = None

    def let_go(self) -> None:
        """Stop what runs on for the next metric."""
        held, self.kept = self.kept, None
        if held is not None:
            held[0].close()

    def new_topic(self, name: str, partitions: int = PARTITIONS) -> None:
        """Create a topic."""
        with KafkaLog(self.settings.kafka_bootstrap) as log:
            log.create(name, partitions)

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end of every partition."""
        with KafkaLog(self.settings.kafka_bootstrap) as log:
            return {partition: end for (_, partition), end in log.latest([topic]).items()}

    def declared(self, name: str, text: str | None = None) -> Declaration:
        """Write a declaration into the root, by default that of the land-cover load, and create its topic."""
        text = text or events.declaration(CHECKOUT, name)
        (self.root / "datasets" / f"{name}.yaml").write_text(text, "utf-8")
        declaration = parse(text, name)
        for topic in declaration.topics:
            self.new_topic(topic.name)
        return declaration

    @contextmanager
    def running(self, *names: str, instrumented: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run the streams and the API of declared datasets, without batch schedules.

        Parameters
        ----------
        instrumented : variables for `bench.arms.speed`, which then runs in the place of the stream's own program
        """
        settings = self.settings

        def wanted(found: Settings) -> list[Program]:
            own = [p for p in layers(found, names) if not p.name.startswith("batch-")]
            return [*services(found), *(self._ours(p, instrumented) for p in own)]

        up(settings, wanted)
        try:
            yield
        finally:
            keeper = Supervisor.of(settings)
            if keeper is not None:
                gone = [n for n in keeper.states() if n == "api" or n.startswith("speed-")]
                keeper.stop(gone)
                keeper.remove(gone)
            for name in names:
                (self.root / "datasets" / f"{name}.yaml").unlink(missing_ok=True)

    def _ours(self, program: Program, instrumented: Mapping[str, str] | None) -> Program:
        if program.name == "api":
            return replace(program, argv=(*program.argv, "--rate", UNLIMITED))
        if instrumented is None or not program.name.startswith("speed-"):
            return program
        path = f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'src'}"
        argv = (program.argv[0], "-m", "bench.arms.speed", *program.argv[2:])
        return replace(
            program, argv=argv, env={**program.env, **instrumented, "PYTHONPATH": path}, ready_timeout_s=900.0
        )

    def batch(self, name: str) -> dict[str, Any]:
        """Run one batch of a dataset as the product does; return its summary."""
        with self.batching(name) as summary:
            return summary()

    @contextmanager
    def batching(self, name: str) -> Iterator[Callable[[], dict[str, Any]]]:
        """Run one batch of a dataset, as the product does, beside what follows; it is stopped at the end.

        Yields
        ------
        A function that waits for its end and returns its summary.
        """
        file, log = self.root / "src" / "batch_layer" / "spark_batch.py", self.where / "batch.log"
        command = [str(self.settings.python), str(file), "--dataset", name, "--once", "--json"]
        more = self.environ | self.settings.spark_env()
        with child(command, more, log) as made:

            def summary() -> dict[str, Any]:
                out, _ = made.communicate()
                if made.returncode:
                    raise Failed(f"batch of {name}: exit {made.returncode}: {log.read_text('utf-8').strip()[-400:]}")
                found: dict[str, Any] = json.loads(out)
                return found

            yield summary

    def drop(self, name: str) -> None:
        """Forget a dataset's files, so that the next metric finds the disk as this one did."""
        for part in ("speed", "batch", "warehouse/master", "warehouse/views"):
            shutil.rmtree(self.settings.home / part / name, ignore_errors=True)

    # ---- processes of the arms --------------------------------------------------------------------------------------

    @contextmanager
    def process(self, module: str, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Process]:
        """Run `python -m module words…`; it is stopped at the end."""
        path = {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'src'}"}
        log = self.where / f"{module}.log"
        settings = self.quiet()
        more = self.environ | settings.spark_env() | path | dict(env or {})
        with child([sys.executable, "-m", module, *words], more, log) as made:
            yield Process(module, made, log)


@contextmanager
def child(command: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own, stderr into a log; it is stopped at the end with all that it started."""
    with log.open("ab") as err:
        made = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, start_new_session=True
        )  # fmt: skip
    try:
        yield made
    finally:
        stop(made)


def stop(process: subprocess.Popen[str], patience_s: float = 30.0) -> None:
    """End a process of ours with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Process:
    """A process that speaks in lines of JSON on stdout and hears lines on stdin. What it says is taken from the pipe at once."""

    def __init__(self, name: str, popen: subprocess.Popen[str], log: Path) -> None:
        self.name, self.popen, self.log = name, popen, log
        self.said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.popen.stdout is not None  # noqa: S101 - it is a pipe
        for line in self.popen.stdout:
            with suppress(ValueError):  # what is no JSON is for people
                self.said.put(json.loads(line))
        self.said.put(None)

    def hear(self, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Return its next line. Raises Failed when it ends, or says nothing in time."""
        try:
            line = self.said.get(timeout=patience_s)
        except queue.Empty:
            line = None
        if line is None:
            tail = self.log.read_text("utf-8", "replace").strip()[-600:]
            raise Failed(f"{self.name}: expected a line within {patience_s:.0f} s, got none; it last wrote: {tail}")
        return line

    def heard(self) -> list[dict[str, Any]]:
        """Return everything it has said since."""
        found: list[dict[str, Any]] = []
        with suppress(queue.Empty):
            while True:
                line = self.said.get_nowait()
                if line is not None:
                    found.append(line)
        return found

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run for the body of a `with`, and stand still before and after, with all that it started."""
        os.killpg(self.popen.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.popen.pid, signal.SIGSTOP)

    @contextmanager
    def in_turns(self) -> Iterator[Process]:
        """Wait until it is ready and let it stand still but for its turns (`awake`): its polling, and what it has not caught up with, would cost the others."""
        self.hear()
        with self.awake():
            pass
        try:
            yield self
        finally:  # what is asked to end must be able to
            os.killpg(self.popen.pid, signal.SIGCONT)

    def tell(self, words: str) -> None:
        """Send it a line."""
        assert self.popen.stdin is not None  # noqa: S101 - it is a pipe
        self.popen.stdin.write(words + "\n")
        self.popen.stdin.flush()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as held:
        held.bind((LOOPBACK, 0))
        port: int = held.getsockname()[1]
        return port


# ---- the API --------------------------------------------------------------------------------------------------------


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
        self._etags: dict[str, tuple[str, Any]] = {}

    def get(self, path: str) -> Any:
        """Return the JSON of a path, by ETag where it is held.

        Raises
        ------
        StoreUnavailable
            There is no answer.
        """
        held = self._etags.get(path)
        headers = {"If-None-Match": held[0]} if held else {}
        try:
            try:
                answer, body = self._asked(path, headers)
            except (ConnectionError, http.client.RemoteDisconnected):  # it was idle for longer than it is kept
                self._connection.close()
                answer, body = self._asked(path, headers)
            etag = answer.headers.get("ETag")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise StoreUnavailable(f"{path}: {error}") from error
        if answer.status == 304 and held:
            return held[1]
        if answer.status != 200:
            raise StoreUnavailable(f"{path}: {answer.status}: {body[:200]!r}")
        found = json.loads(body)
        if etag:
            self._etags[path] = (etag, found)
        return found

    def _asked(self, path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        return answer, answer.read()


def view(name: str, view_name: str, query: str = "") -> str:
    """Return the path of a view."""
    return f"/api/v1/datasets/{name}/views/{view_name}" + (f"?{query}" if query else "")


def status(client: Client, name: str) -> dict[str, Any]:
    """Return what the API's status says of a dataset."""
    return next(d for d in client.get("/api/v1/status")["datasets"] if d["dataset"] == name)


def eventually(what: str, ask: Callable[[], Any], patience_s: float = PATIENCE_S, every_s: float = 0.05) -> Any:
    """Return the first truthy answer. Raises Failed when there is none in time."""
    until, last = time.monotonic() + patience_s, None
    while time.monotonic() < until:
        try:
            if last := ask():
                return last
        except StoreUnavailable as error:
            last = error
        time.sleep(every_s)
    raise Failed(f"expected within {patience_s:.0f} s that {what}; last: {str(last)[:200]!r}")


def covered(lab: Lab, client: Client, name: str, view_name: str, topic: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the answer with states that covers the topic's end, once there is one."""
    ends = {f"{topic}:{p}": end for p, end in lab.ends(topic).items()}

    def ask() -> Any:
        found = client.get(view(name, view_name, "state=1&limit=10000"))
        return found if found["meta"]["complete"] and found["meta"]["as_of"]["offsets"] == ends else None

    return eventually(f"{name} covers {ends}", ask, patience_s)


# ---- watching ---------------------------------------------------------------------------------------------------------


@dataclass
class Watcher:
    """Asks something over and over, open loop, in a thread, and keeps (when it was answered, what)."""

    ask: Callable[[], Any]
    every_s: float
    found: list[tuple[float, Any]] = field(default_factory=list)
    failures: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(15)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            try:
                answer = self.ask()
            except (StoreUnavailable, OSError, KeyError, ValueError):
                self.failures += 1
                answer = None
            if answer is not None:
                self.found.append((time.time(), answer))
            due = max(due + self.every_s, time.monotonic() - 1.0)
            self._over.wait(max(0.0, due - time.monotonic()))


def micro_batches(settings: Settings, name: str) -> Watcher:
    """Return a watcher of the stream's heartbeat: how long each stage of every micro-batch took, as the job itself says."""
    path, last = settings.heartbeat(f"speed-{name}"), [0]

    def ask() -> Any:
        said = heartbeat.said(path)
        found = said.get("micro_batch") if said else None
        if not found or found["seq"] == last[0]:
            return None
        last[0] = found["seq"]
        return found

    return Watcher(ask, 0.02)


def memory(settings: Settings) -> dict[str, float]:
    """Return the proportional set size of every program of a home, in MB."""
    return by_program(settings, lambda process: process.memory_full_info().pss / 1e6)


def by_program(settings: Settings, of: Callable[[psutil.Process], float]) -> dict[str, float]:
    """Return a number of every program of a home, summed over its processes; one that has just gone has none."""
    found: dict[str, float] = {}
    for process in home.marked(settings):
        with suppress(psutil.Error):
            name = process.environ().get("BRAID_PROGRAM", process.name())
            found[name] = found.get(name, 0.0) + of(process)
    return found


def say(text: str) -> None:
    """Say what is being done."""
    print(f"{time.strftime('%H:%M:%S', time.gmtime())}  {text}", file=sys.stderr, flush=True)


def medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of every name over some mappings."""
    names = {name for one in samples for name in one}
    held = {name: sorted(one[name] for one in samples if name in one) for name in names}
    return {name: values[len(values) // 2] for name, values in sorted(held.items())}
