"""Which programs an instance runs: the one place where the services and the layers' programs come together."""

from braid.adapters.chosen import running
from braid.settings import Settings
from stack.layers import layers
from stack.programs import Program
from stack.services import services


def programs(settings: Settings) -> list[Program]:
    """Return the programs that `braid up` starts: the services, then the layers of every declared dataset."""
    return [*services(settings), *layers(settings, list(running(settings)))]
