"""Which ports: the standard ones or free ones, written to run/ports.json so that every later command finds them."""

import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from random import SystemRandom

import psutil

from braid.errors import PortInUse
from braid.settings import LOOPBACK, Ports, Settings

# Free ports come from below those that Linux (from 32768) and macOS (from 49152) give to outgoing connections: while a
# program is started again nobody holds its port, and a client's connection, its own even, that is given it keeps the
# program from listening. They are taken by the block of which none is held, so that no instance is given the port of
# another one's program that does not run at the moment.
SERVED = range(20_000, 32_768)
BLOCKS = [SERVED[start : start + 16] for start in range(0, len(SERVED), 16)]


def choose(settings: Settings) -> Settings:
    """Return the settings with every port decided, and record them.

    Recorded ports are kept where they are still free: clients know them. In mode `free` a taken one is chosen anew;
    in mode `standard` it stays, and the check before the start names who holds it.
    """
    choice = settings.port_choice
    if choice.mode == "standard":
        ports = replace(Ports(), **choice.fixed)
    else:
        usual = Ports().as_dict()
        known = settings.ports.as_dict()
        # a standard number was recorded before somebody asked for free ones: leave it to another instance
        keep = {name: port for name, port in known.items() if port and port != usual[name] and is_free(port)}
        keep |= choice.fixed
        ports = Ports.of({**_free([name for name in Ports.names() if name not in keep]), **keep})
    record(settings.with_ports(ports))
    return settings.with_ports(ports)


def record(settings: Settings) -> None:
    """Write the ports, and the BRAID_PORTS text they came from, to run/ports.json."""
    choice = settings.port_choice
    asked = ",".join([choice.mode, *(f"{name}={number}" for name, number in choice.fixed.items())])
    path = settings.run / "ports.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({"asked": asked, "ports": settings.ports.as_dict()}, indent=1), "utf-8")
    aside.replace(path)


def refuse_taken(program: str, ports: Mapping[str, int]) -> None:
    """Raise when another process listens on a port that a program is about to use.

    Raises
    ------
    PortInUse : names the port, what it is for, and the process that holds it
    """
    for name, port in ports.items():
        if is_free(port):
            continue
        instead = f"BRAID_PORTS=free, or {name}=NUMBER in it"
        raise PortInUse(f"{program}: port {port} ({name}) is in use by {holder(port)}; stop it, or set {instead}")


def is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket() as trial:
        # as servers do: a connection of a stopped server that lingers in TIME_WAIT does not count
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Return who listens on a port: `python3 (pid 4711, user ann): …`, as far as this user may see."""
    try:
        found = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.status == "LISTEN"]
        pid = next((c.pid for c in found if c.pid), None)
        if pid is None:
            return "another user's process"
        process = psutil.Process(pid)
        line = " ".join(process.cmdline())
        return f"{process.name()} (pid {pid}, user {process.username()}): {line[:80]}"
    except psutil.Error:
        return "a process this user may not see"


def _free(names: list[str]) -> dict[str, int]:
    block = next((b for b in SystemRandom().sample(BLOCKS, len(BLOCKS)) if all(map(is_free, b))), None)
    if block is None:
        raise PortInUse(
            f"BRAID_PORTS=free: expected a block of {len(BLOCKS[0])} free ports in {SERVED.start}-{SERVED.stop - 1},"
            " got none; stop what listens there, or set BRAID_PORTS=standard"
        )
    return dict(zip(names, block, strict=False))
