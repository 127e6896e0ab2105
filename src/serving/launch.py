"""Starting the API: its flags, what it refuses to start without, and the process that it becomes.

Whatever listens beyond loopback asks for keys, and its keys do not travel in the clear: either gunicorn speaks TLS
itself, or somebody says that a proxy in front of it does.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from braid.adapters import environment, failpoints
from braid.adapters.keys import KeyFile
from braid.errors import BraidError, SettingsError, UsageError
from braid.settings import LOOPBACK, Settings
from serving.guard import KEYED_RATE_PER_S, OPEN_RATE_PER_S


def main(arguments: Sequence[str] | None = None) -> int:
    """Become gunicorn; returns only when that cannot be: 2 for a wrong request, 1 for anything else."""
    options = _parser().parse_args(arguments)
    try:
        return _become(command(environment.load(), options))
    except BraidError as error:
        print(f"braid: {error}", file=sys.stderr)  # noqa: T201 - the one line that a person reads
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    about = "Serve the API and the dashboard on the two ports of the settings, in the foreground."
    parser = argparse.ArgumentParser("braid serve", description=about)
    parser.add_argument(
        "--listen",
        default=LOOPBACK,
        metavar="ADDRESS",
        help="beyond loopback asks for keys and TLS (default: %(default)s)",
    )
    parser.add_argument(
        "--require-keys", action="store_true", help="ask for keys on loopback too: for a proxy on this machine"
    )
    parser.add_argument("--cert", type=Path, help="TLS certificate chain (PEM)")
    parser.add_argument("--cert-key", type=Path, help="its private key (PEM)")
    parser.add_argument(
        "--behind-tls-proxy", action="store_true", help="a proxy in front speaks TLS; this server need not"
    )
    parser.add_argument("--rate", type=_rate, help=f"requests a second per key or address (default: {KEYED_RATE_PER_S:g} with keys, {OPEN_RATE_PER_S:g} without)")  # fmt: skip
    return parser


def _rate(text: str) -> float:
    found = float(text)
    if not 0 < found <= 1_000_000:
        raise ValueError(text)
    return found


def command(settings: Settings, options: argparse.Namespace) -> list[str]:
    """Return the arguments of gunicorn.

    Raises
    ------
    SettingsError
        The ports have not been chosen yet, or it would listen beyond loopback with failpoints set.
    UsageError
        It would listen beyond loopback without a key, or without TLS.
    """
    ports = settings.ports
    if not (ports.api and ports.dashboard):
        raise SettingsError("BRAID_PORTS=free: expected ports that were chosen, got none yet; run `braid up` first")
    address = _address(options.listen)
    failpoints.check(settings.failpoints, [str(address)])
    beyond = not address.is_loopback
    keyed = beyond or options.require_keys
    _check_tls(options, beyond)
    if keyed and not KeyFile(settings.keys).valid():
        why = f"--listen {options.listen}" if beyond else "--require-keys"
        raise UsageError(
            f"{why}: expected at least one API key, got none; make one: braid key create NAME --scope read"
        )
    rate = options.rate or (KEYED_RATE_PER_S if keyed else OPEN_RATE_PER_S)
    host = f"[{address}]" if address.version == 6 else str(address)
    binds = [word for port in (ports.api, ports.dashboard) for word in ("--bind", f"{host}:{port}")]
    tls = (
        ["--certfile", str(options.cert.absolute()), "--keyfile", str(options.cert_key.absolute())]
        if options.cert
        else []
    )
    config = Path(__file__).resolve().with_name("gunicorn_conf.py")
    return ["--config", str(config), *binds, *tls, f"serving.server:app({keyed}, {float(rate)!r})"]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(LOOPBACK if text == "localhost" else text)
    except ValueError as error:
        raise UsageError(f"--listen: expected an address such as 127.0.0.1 or 0.0.0.0, got {text!r}") from error


def _check_tls(options: argparse.Namespace, beyond: bool) -> None:
    if (options.cert is None) != (options.cert_key is None):
        raise UsageError("--cert, --cert-key: expected both or neither, got one")
    for path in filter(None, (options.cert, options.cert_key)):
        if not path.is_file():
            raise UsageError(f"--cert, --cert-key: expected a file, got {path}")
    if beyond and options.cert is None and not options.behind_tls_proxy:
        raise UsageError(
            f"--listen {options.listen}: expected --cert and --cert-key, or --behind-tls-proxy, got neither; "
            "keys must not travel in the clear"
        )


def _become(words: Sequence[str]) -> NoReturn:
    source = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(source), os.environ.get("PYTHONPATH"))))
    # a new process image: the folder of a script, first on its path, is then no longer on it
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *words])  # noqa: S606
