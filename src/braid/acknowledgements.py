"""Acknowledgements: what people say of an alert. Beside the exact path: no number depends on them, and they may expire.

An alert is named by its rule and the place of its event in the log, which no replay and no generation changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

Place: TypeAlias = tuple[str, str, int, int]  # rule, topic, partition, offset

MOST_NOTE = 1000  # characters


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The newest word on one alert.

    Attributes
    ----------
    acknowledged : False once it was taken back
    note : why, for people
    who : the name of the key it was said with, empty where none is asked for
    at_us : when, microseconds UTC
    """

    rule: str
    topic: str
    partition: int
    offset: int
    acknowledged: bool
    note: str
    who: str
    at_us: int

    @property
    def place(self) -> Place:
        """What it is about."""
        return self.rule, self.topic, self.partition, self.offset


def said_again(held: Acknowledgement | None, new: Acknowledgement) -> Acknowledgement:
    """Return what is to be held: the old word when the new one says the same, so that saying it twice changes nothing.

    Examples
    --------
    >>> first = Acknowledgement("odd", "t", 0, 7, True, "known", "ops", 5)
    >>> said_again(first, replace(first, at_us=9)).at_us, said_again(first, replace(first, note="", at_us=9)).at_us
    (5, 9)
    """
    return held if held is not None and replace(held, who=new.who, at_us=new.at_us) == new else new
