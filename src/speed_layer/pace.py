"""How long a stream rests after a micro-batch, so that those beside it, and batches, get their turn."""

SHARE = 0.8  # of the cores that all streams of a machine take together
LONGEST_S = 1.0  # a long micro-batch was an outage's backlog: there is more of it


def rest_s(worked_s: float, streams: int, cores: int) -> float:
    """Return how long to rest after having worked for so long.

    A stream keeps one core busy, about, and one that is alone never rests. Of several that run back to back none gets
    on: each of their micro-batches lasts as long as all of them together, and so do the batches beside them.

    Parameters
    ----------
    worked_s : the micro-batch that has ended, seconds
    streams : that are at work on this machine, this one among them
    cores : of this machine

    Examples
    --------
    >>> rest_s(0.4, 1, 2), rest_s(0.4, 2, 2), rest_s(0.4, 4, 2), rest_s(9.0, 4, 2)
    (0.0, 0.1, 0.6, 1.0)
    """
    share = SHARE * cores / streams
    return 0.0 if share >= 1 else round(min(worked_s * (1 / share - 1), LONGEST_S), 6)
