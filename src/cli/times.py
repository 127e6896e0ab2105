"""Instants on the command line."""

from braid.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def instant(option: str, text: str) -> int:
    """Return an instant, absolute or `now-1h`, as microseconds UTC.

    Raises
    ------
    UsageError
        It is neither; `option` names it.
    """
    from braid.adapters.clock import SystemClock
    from braid.declaration_file import duration_us
    from braid.instants import instant_us

    try:
        if text.startswith("now-"):
            return SystemClock().now_us() - duration_us(f"{int(text[4:-1])} {_UNITS[text[-1]]}")
        return instant_us(text)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{option}: expected an instant such as 2026-01-31T12:00:00Z, or now-1h, got {text!r}"
        ) from error
