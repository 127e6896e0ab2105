"""The dataset's stream as a verb that must have it stopped sees it: under the supervisor here, or started by hand."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from braid.errors import AlreadyRunning
from cli.output import progress

if TYPE_CHECKING:
    from braid.settings import Settings


class Stream:
    """The speed layer of a dataset, stopped and started; one lock says whether any runs on this machine.

    Parameters
    ----------
    locks : holds the stream's lock while it is stopped
    verb : what a person types to run the command again
    """

    def __init__(self, settings: "Settings", dataset: str, locks: ExitStack, verb: str) -> None:
        self._settings = settings
        self._dataset = dataset
        self._locks = locks
        self._verb = verb
        self.stopped = False

    def stop(self) -> None:
        """Stop it and hold its lock, so that none starts before the end."""
        from braid.adapters import lock
        from stack import up

        self.stopped = True
        up.hold(self._settings, f"speed-{self._dataset}")
        path = self._settings.home / "speed" / self._dataset / "lock"
        try:
            self._locks.enter_context(lock.exclusive(path, f"stream {self._dataset}"))
        except AlreadyRunning as error:
            raise AlreadyRunning(f"{error}: it is not the supervisor's; end it, then run {self._verb} again") from error

    def start(self) -> None:
        """Start it again under the supervisor; where there is none, say so."""
        from cli.programs import programs
        from stack import up

        self._locks.close()
        name = f"speed-{self._dataset}"
        mine = next((program for program in programs(self._settings) if program.name == name), None)
        if mine is None or not up.start_again(self._settings, mine):
            progress(
                f"{self._dataset}: no supervisor keeps its stream here: start it yourself, or braid up {self._dataset}"
            )
        self.stopped = False
