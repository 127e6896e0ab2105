"""Instants as people write them: integer microseconds UTC to ISO 8601 and back. No float, no local time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BARE_EPOCH = _EPOCH.replace(tzinfo=None)  # written without a zone, so nothing has to be taken off again
_TICK = timedelta(microseconds=1)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})")


def iso(instant_us: int) -> str:
    """Return an instant as ISO 8601 in UTC, with a fraction only when there is one.

    Examples
    --------
    >>> iso(0), iso(1_767_225_600_250_000), iso(-1)
    ('1970-01-01T00:00:00Z', '2026-01-01T00:00:00.250000Z', '1969-12-31T23:59:59.999999Z')
    """
    return (_BARE_EPOCH + instant_us * _TICK).isoformat() + "Z"


def instant_us(text: str) -> int:
    """Return the microseconds of an ISO 8601 instant that names its zone.

    Raises
    ------
    ValueError
        Another form, no zone, or no such instant.

    Examples
    --------
    >>> instant_us("2026-01-01T00:00:00Z"), instant_us("1970-01-01T01:00:00.5+01:00")
    (1767225600000000, 500000)
    """
    if not _ISO.fullmatch(text):
        raise ValueError("expected an instant such as 2026-01-01T00:00:00Z")
    # 3.11 reads fractions of any length up to six digits
    return (datetime.fromisoformat(text) - _EPOCH) // _TICK
