"""What a metric gives: rows for the table, raw samples, and what was void and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bench.stats import Ratio

Bound = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the product's number, or on its ratio to the anchor."""

    of: Literal["product", "ratio"]
    bound: Bound
    value: float

    def met(self, number: float) -> bool:
        """Return whether a number keeps the bound.

        Examples
        --------
        >>> Target("ratio", "at most", 3.0).met(2.9), Target("product", "at least", 40_000).met(20_000)
        (True, False)
        """
        return number <= self.value if self.bound == "at most" else number >= self.value

    def __str__(self) -> str:
        """Return it in words."""
        sign = "≤" if self.bound == "at most" else "≥"
        return f"{sign} {self.value:,g}" + (" ×" if self.of == "ratio" else "")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what : what was measured, for people
    unit : of product and anchor
    product, anchor : medians over the slices; None where there is none
    beside : what the anchor is
    ratio : product to anchor, pair by pair
    note : what must be read with the number; for a number that is none, why
    """

    what: str
    unit: str
    product: float | None
    anchor: float | None = None
    beside: str = ""
    ratio: Ratio | None = None
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target, or without a number."""
        if self.target is None:
            return None
        between = self.ratio.middle if self.ratio else None
        number = self.product if self.target.of == "product" else between
        return None if number is None else self.target.met(number)


@dataclass
class Result:
    """One metric of one run.

    Attributes
    ----------
    bars : what its chart shows: label → value, in `unit`; or `lines`: label → points
    samples : everything that was measured, raw
    void : slices whose numbers are none, and why
    """

    metric: str
    title: str
    unit: str
    rows: list[Row] = field(default_factory=list)
    bars: dict[str, float] = field(default_factory=dict)
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    across: str = ""
    samples: list[dict[str, Any]] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def failed(self, what: str, why: object) -> None:
        """Note that a number is missing, and why: it has a row, so that nobody takes it for forgotten."""
        self.void.append(f"{what}: {why}")
        self.rows.append(Row(what, "", None, note=f"void: {why}"))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: in full, or just enough to see that it works."""

    quick: bool = False

    def of(self, full: float, quick: float) -> float:
        """Return one of two sizes."""
        return quick if self.quick else full

    def whole(self, full: int, quick: int) -> int:
        """Return one of two whole sizes."""
        return quick if self.quick else full
