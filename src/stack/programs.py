"""What the supervisor runs: one `Program` each, a value. `stack.services` builds the three services' ones, the layers' are added beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from braid.adapters import failpoints
from braid.settings import MARK, Settings


def nothing() -> None:
    """Do nothing: the default of `Program.prepare`."""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process.

    Attributes
    ----------
    name : short and unique, as `status` and `logs` show it: `kafka`, `speed-landcover`
    argv : the command; the first word is an absolute path
    env : variables beside the inherited ones
    ports : what it listens on, {what: port}; `up` refuses to start it when another process holds one
    order : programs of a lower order are ready before those of a higher one are started; equals start together
    prepare : called once before it is started by `up`, e.g. to write its configuration
    ready : asks the program itself, and raises `NotReady` as long as it does not answer; None: running is ready
    ready_timeout_s : how long `up` asks
    startsecs : how long it must live to count as started; one that dies earlier is tried again ever later
    stopsignal, stopwaitsecs : how it ends in order, and when it is killed
    heartbeat : a file that it touches at each stage; without a touch for `silent_s` it is killed and started again
    heap_mb : memory it is meant to use, for the check before the start
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    order: int = 0
    prepare: Callable[[], None] = nothing
    ready: Callable[[], None] | None = None
    ready_timeout_s: float = 120.0
    startsecs: int = 5
    stopsignal: str = "TERM"
    stopwaitsecs: int = 30
    heartbeat: Path | None = None
    silent_s: float = 120.0
    heap_mb: int = 0

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return its variables, with the marks by which a later `braid` recognises it."""
        marks = {"BRAID_HOME": str(settings.home), MARK: self.name}
        mine = failpoints.of_program(settings.failpoints, self.name)
        return marks | ({failpoints.VARIABLE: mine} if mine else {}) | dict(self.env)
