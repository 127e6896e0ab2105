"""Windows: half-open intervals of event time on a fixed grid from the epoch, in integer microseconds UTC.

A window is named by its start. `all` is the window of length 0 here: one interval that holds every time, and whose
start is written as 0 wherever a start is needed.
"""

from __future__ import annotations

ALL_US = 0


def start_us(event_us: int, window_us: int) -> int:
    """Return the start of the window that holds `event_us`: start <= event < start + window.

    Examples
    --------
    >>> start_us(1_199_999_999, 600_000_000), start_us(1_200_000_000, 600_000_000), start_us(5, ALL_US)
    (600000000, 1200000000, 0)
    """
    return 0 if window_us == ALL_US else event_us - event_us % window_us


def end_us(window_start_us: int, window_us: int) -> int | None:
    """Return the first microsecond after the window, None for `all`."""
    return None if window_us == ALL_US else window_start_us + window_us


def coarsen(window_start_us: int, window_us: int) -> int:
    """Return the start of the coarser window that holds a whole finer one."""
    return start_us(window_start_us, window_us)


def nest(fine_us: int, coarse_us: int) -> bool:
    """Return whether every window of the coarser grid is made of whole finer ones; both grids begin at the epoch.

    Examples
    --------
    >>> nest(600_000_000, 3_600_000_000), nest(600_000_000, 900_000_000), nest(600_000_000, ALL_US), nest(ALL_US, 60)
    (True, False, True, False)
    """
    if coarse_us == ALL_US:
        return True
    return fine_us != ALL_US and coarse_us % fine_us == 0
