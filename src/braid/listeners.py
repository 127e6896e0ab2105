"""The listeners of an instance, all on loopback: which there are, and what BRAID_PORTS asks for them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from braid.errors import SettingsError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """One TCP port per listener, all on loopback; 0 means not chosen yet.

    Examples
    --------
    >>> Ports().kafka, Ports.unset().kafka, Ports.of({"kafka": 19092}).kafka
    (9092, 0, 19092)
    """

    kafka: int = 9092
    controller: int = 9093
    cassandra: int = 9042
    storage: int = 7000
    hive: int = 10000
    api: int = 5000
    dashboard: int = 8000
    spark_ui: int = 4040
    batch_ui: int = 4041

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the name of each port, in the order of the class."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def unset(cls) -> "Ports":
        """Return ports of which none is chosen."""
        return cls(**dict.fromkeys(cls.names(), 0))

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> "Ports":
        """Return the standard ports with those of `numbers` in their place.

        Raises
        ------
        SettingsError : an unknown name, or a number outside 1-65535
        """
        for name, number in numbers.items():
            if name not in cls.names():
                raise SettingsError(f"ports: unknown name {name!r}; expected one of {', '.join(cls.names())}")
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
                raise SettingsError(f"ports: {name}: expected a number in 1-65535, got {number!r}")
        return replace(cls(), **numbers)

    def as_dict(self) -> dict[str, int]:
        """Return {name: port}."""
        return {name: getattr(self, name) for name in self.names()}


@dataclass(frozen=True, slots=True)
class PortChoice:
    """What BRAID_PORTS asks for: a mode, and single ports that are fixed whatever the mode."""

    mode: Literal["standard", "free"]
    fixed: Mapping[str, int]

    @classmethod
    def parse(cls, text: str) -> "PortChoice":
        """Read `standard`, `free`, `name=number` and lists of them.

        Raises
        ------
        SettingsError : another word, an unknown port name or number

        Examples
        --------
        >>> PortChoice.parse("free,api=5005")
        PortChoice(mode='free', fixed={'api': 5005})
        """
        mode: Literal["standard", "free"] = "standard"
        fixed: dict[str, int] = {}
        for word in (part.strip() for part in text.split(",")):
            name, equals, number = word.partition("=")
            if word in {"standard", "free"}:
                mode = "free" if word == "free" else "standard"
            elif equals and number.isdecimal():
                fixed[name] = int(number)
            else:
                raise SettingsError(f"BRAID_PORTS: expected standard, free or name=number, got {word!r}")
        Ports.of(fixed)
        return cls(mode, fixed)
