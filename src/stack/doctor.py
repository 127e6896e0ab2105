"""`braid doctor`: everything that must be so before and while the stack runs, each with what to do about it.

A check never changes anything and never raises: what goes wrong is its answer.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import psutil

from braid.adapters.environment import install_command, memory_bytes, require_java
from braid.errors import BraidError, NotReady
from braid.settings import Settings
from stack import home, jars, limits, ports
from stack.conf import socket_path
from stack.programs import Program
from stack.services import services
from stack.supervisor import Supervisor

Verdict = Literal["ok", "warn", "fail"]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True, slots=True)
class Check:
    """One answer: `fail` stops `braid up`, `warn` does not."""

    name: str
    verdict: Verdict
    detail: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON's words."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checks look at: an installation, and its supervisor when one answers."""

    settings: Settings
    running: Supervisor | None


def examine(settings: Settings) -> Iterator[Check]:
    """Yield each check as it is done; those of the services ask them, and take up to some seconds."""
    scene = Scene(settings, Supervisor.of(settings))
    for name, check in CHECKS.items():
        yield _checked(name, partial(check, scene))
    if settings.java_home is not None:
        for program in services(settings):
            yield _checked(program.name, partial(_service, scene, program))


def examine_for_tests(settings: Settings) -> Iterator[Check]:
    """Yield what `make test` needs: the tests bring their own home and ports, and Chromium must be there."""
    for name in ("python", "java", "memory", "disk", "jars", "chromium"):
        check = _checked(name, partial(CHECKS[name], Scene(settings, None)))
        yield replace(check, verdict="fail") if (name, check.verdict) == ("chromium", "warn") else check


def chromium() -> Path | None:
    """Return a Chromium for the browser tests: CHROMIUM if set, else one on PATH."""
    named = os.environ.get("CHROMIUM")
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    candidates = [Path(named)] if named else [Path(folder) / name for name in CHROMIUM for folder in folders]
    return next((path for path in candidates if os.access(path, os.X_OK) and path.is_file()), None)


Answer = tuple[Verdict, str]


def _checked(name: str, check: Callable[[], Answer]) -> Check:
    try:
        return Check(name, *check())
    except BraidError as error:
        return Check(name, "fail", str(error))


def _python(scene: Scene) -> Answer:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return ("ok", f"{version} at {scene.settings.python}") if good else ("fail", f"{version}: expected 3.11-3.13")


def _java(scene: Scene) -> Answer:
    return "ok", f"17 at {require_java(scene.settings)}"


def _memory(scene: Scene) -> Answer:
    total_mb = memory_bytes() // 2**20
    text = f"{total_mb} MiB, profile {scene.settings.profile}: heaps of {scene.settings.heaps.total} MiB in all"
    wrong = limits.memory(services(scene.settings)) if scene.running is None and scene.settings.java_home else None
    return ("fail", wrong) if wrong else ("ok", text)


def _disk(scene: Scene) -> Answer:
    wrong = limits.disk("BRAID_HOME", scene.settings.home, limits.HOME_MB) or limits.disk(
        "BRAID_CACHE", scene.settings.cache, limits.CACHE_MB
    )
    return ("fail", wrong) if wrong else ("ok", "enough for the home and the cache")


def _home(scene: Scene) -> Answer:
    folder, sock = scene.settings.home, socket_path(scene.settings)
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if not os.access(there, os.W_OK | os.X_OK) or not there.is_dir():
        return "fail", f"{folder}: cannot write {there}; make it writable or set BRAID_HOME"
    return "ok", str(folder) if sock.parent == scene.settings.run else f"{folder}; path too long, socket at {sock}"


def _jars(scene: Scene) -> Answer:
    wanted = jars.listed(scene.settings)
    missing = [name for name in wanted if not jars.whole(scene.settings.jar_dir(name), wanted[name])]
    if missing:
        return "warn", f"{', '.join(missing)}: not in {scene.settings.cache} yet; `braid up` fetches them"
    return "ok", f"{sum(map(len, wanted.values()))} with the listed sha256 in {scene.settings.cache / 'jars'}"


def _supervisor(scene: Scene) -> Answer:
    if scene.running is not None:
        return "ok", f"answers at {socket_path(scene.settings)}"
    left = home.marked(scene.settings)
    if left:
        names = ", ".join(f"{process.name()} (pid {process.pid})" for process in left)
        return "warn", f"gone, but its programs run on: {names}; `braid up` or `braid down` ends them"
    if (scene.settings.run / "supervisord.pid").exists():
        return "warn", f"{scene.settings.run / 'supervisord.pid'} is stale; `braid up` replaces it"
    return "ok", "not running"


def _lock(scene: Scene) -> Answer:
    if not (scene.settings.run / "lock").exists():
        return "ok", "free"
    with home.locked(scene.settings):
        return "ok", "free"


def _ports(scene: Scene) -> Answer:
    if scene.running is not None:
        return "ok", "in use by this stack"
    numbers = {name: number for name, number in scene.settings.ports.as_dict().items() if number}
    taken = {name: number for name, number in numbers.items() if not ports.is_free(number)}
    if taken and scene.settings.port_choice.mode == "standard":
        first = next(iter(taken.items()))
        return "fail", f"{first[1]} ({first[0]}) is in use by {ports.holder(first[1])}; stop it, or BRAID_PORTS=free"
    return "ok", f"{', '.join(f'{name} {number}' for name, number in numbers.items())}" if numbers else "free ones"


def _name(_: Scene) -> Answer:
    name = socket.gethostname()
    try:
        socket.gethostbyname(name)
    except OSError:
        return "ok", f"{name} does not resolve; Braid listens on 127.0.0.1 and does not need it"
    return "ok", f"{name} resolves"


def _submit(scene: Scene) -> Answer:
    conf = scene.settings.spark_home / "conf" / "spark-defaults.conf"
    return ("ok", str(conf)) if conf.exists() else ("warn", f"{conf} is missing: bare spark-submit; run `braid setup`")


def _chromium(_: Scene) -> Answer:
    found = chromium()
    if found:
        return "ok", str(found)
    return "warn", f"not found; the browser tests need it: {install_command('chromium')}"


def _service(scene: Scene, program: Program) -> Answer:
    state = scene.running.states().get(program.name) if scene.running else None
    if state is None or not state.pid:
        return "warn", f"{state.state.lower() if state else 'not running'}; `braid up` starts it"
    try:
        if program.ready is not None:
            program.ready()
    except NotReady as error:
        return "fail", f"{error}; log: {scene.settings.logs / program.name}.log"
    memory_mb = psutil.Process(state.pid).memory_info().rss // 2**20
    return "ok", f"answers, pid {state.pid}, {memory_mb} MiB"


CHECKS: dict[str, Callable[[Scene], Answer]] = {
    "python": _python,
    "java": _java,
    "memory": _memory,
    "disk": _disk,
    "home": _home,
    "jars": _jars,
    "lock": _lock,
    "supervisor": _supervisor,
    "ports": _ports,
    "host name": _name,
    "spark-submit": _submit,
    "chromium": _chromium,
}
