"""`braid key`: API keys, made, listed and revoked. A running server takes a change at once."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, progress, show, show_json, show_table

if TYPE_CHECKING:
    from braid.adapters.keys import KeyFile


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    keys = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
    for command in (create, list_keys, revoke):
        keys.command("list" if command is list_keys else None)(command)
    app.add_typer(keys, name="key")


def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; for people.")],
    scope: Annotated[str, typer.Option(help="read, or admin: may acknowledge alerts too.")] = "read",
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only a hash of it is kept."""
    from braid.adapters.clock import SystemClock

    key, token = _file().create(name, scope, SystemClock().now_us())  # type: ignore[arg-type]  # checked there
    if as_json:
        show_json({"id": key.id, "name": key.name, "scope": key.scope, "key": token})
    else:
        show(token)
        progress(
            f"key {key.id} of {key.name}, scope {key.scope}; send it as `Authorization: Bearer …`; it is not shown again"
        )


def list_keys(as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    found = list(_file().keys().values())
    if as_json:
        fields = ("id", "name", "scope")
        show_json(
            [
                {f: getattr(k, f) for f in fields} | {"created": _day(k.created_us), "revoked": _day(k.revoked_us)}
                for k in found
            ]
        )
        return
    rows = [[k.id, k.name, k.scope, _day(k.created_us) or "", _day(k.revoked_us) or ""] for k in found]
    show_table("keys", ["id", "name", "scope", "created", "revoked"], rows)


def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `braid key list` shows it.")]) -> None:
    """Let a key be valid no more."""
    from braid.adapters.clock import SystemClock

    key = _file().revoke(key_id, SystemClock().now_us())
    progress(f"key {key.id} of {key.name} is revoked")


def _file() -> "KeyFile":
    from braid.adapters.environment import load
    from braid.adapters.keys import KeyFile

    return KeyFile(load().keys)


def _day(instant_us: int) -> str | None:
    if not instant_us:
        return None
    return datetime.fromtimestamp(instant_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
