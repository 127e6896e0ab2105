"""An API process of a test's own, over datasets of its own, in front of the shared stack."""

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from braid.settings import LOOPBACK, Settings
from tests.services.pipeline import root_with
from tests.stack_fixture import names

CHECKOUT = Path(__file__).parents[2]
PATIENCE_S = 60.0


class Api:
    """A running API; `settings` name its two ports."""

    def __init__(self, settings: Settings, process: subprocess.Popen, log: Path) -> None:
        self.settings = settings
        self.process = process
        self.log = log
        self.page = f"http://{LOOPBACK}:{settings.ports.dashboard}"

    def get(self, path: str) -> Any:
        """Return the JSON of a path."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.settings.ports.api}{path}", timeout=10) as answer:
            return json.load(answer)

    def until(self, what: str, ask: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Return the first truthy answer of `ask`; refused and unavailable count as no answer yet."""
        last: object = None
        end_s = time.monotonic() + patience_s
        while time.monotonic() < end_s:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            try:
                last = ask()
                if last:
                    return last
            except OSError as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"{what}: not within {patience_s} s, last {last!r}\n{self.log.read_text('utf-8')[-3000:]}")

    def complete_at(self, dataset: str, seq: int) -> dict:
        """Wait until the answers are complete and cover a seq; return what they cover."""

        def covers() -> dict | None:
            meta = next(s["serving"] for s in self.get("/api/v1/status")["datasets"] if s["dataset"] == dataset)
            return meta if meta and meta["complete"] and meta["as_of"]["seq"] >= seq else None

        return self.until(f"{dataset}: a complete answer at seq {seq}", covers)


@contextmanager
def running_api(
    stack: Settings, folder: Path, datasets: dict[str, str], flags: Sequence[str] = (), **ports: int
) -> Iterator[Api]:
    """Run an API over some declarations, started with some flags, its parts on the stack's ports but for those of `ports`."""
    root = root_with(folder / "root", CHECKOUT, datasets)
    home = folder / "home"
    (home / "run").mkdir(parents=True)
    stack.warehouse_dir.mkdir(parents=True, exist_ok=True)
    (home / "warehouse").symlink_to(stack.warehouse_dir)
    api, dashboard = free_ports(2)
    settings = replace(stack, ports=replace(stack.ports, api=api, dashboard=dashboard, **ports), home=home, root=root)
    record = {"asked": "free", "ports": settings.ports.as_dict()}
    (home / "run" / "ports.json").write_text(json.dumps(record), encoding="utf-8")
    log = folder / "api.log"
    with log.open("wb") as file:
        command = [str(stack.python), str(root / "src" / "serving" / "app.py"), *flags]
        environ = names(BRAID_HOME=str(home), BRAID_ROOT=str(root))
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=file, cwd="/")
    try:
        yield Api(settings, process, log)
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text("utf-8")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    numbers = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return numbers


def landcover_as(name: str) -> str:
    """Return the land-cover declaration under another name and topic."""
    text = (CHECKOUT / "datasets" / "landcover.yaml").read_text("utf-8")
    return text.replace("dataset: landcover", f"dataset: {name}").replace(
        "topic: image-events", f"topic: {name}-events"
    )


class Wire:
    """A TCP proxy before one port, which a test can cut: the store lives on, and nobody reaches it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = True
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Refuse whoever comes, and break what is connected."""
        self._open = False
        for held in self._held:
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
        self._held.clear()

    def mend(self) -> None:
        """Let everybody through again."""
        self._open = True

    def close(self) -> None:
        """Stop for good."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open:
                    near.close()
                    continue
                far = socket.create_connection((LOOPBACK, self._target))
                self._held += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError), source, sink:
        while data := source.recv(65536):
            sink.sendall(data)
