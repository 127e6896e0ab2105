"""Supervisor's files: one main configuration, and for each program a section and a launch file.

A program of its own file can come and go while the others run. What supervisor would cut, expand or quote in a value
travels in the launch file (`stack.launch`), which is JSON.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from braid.errors import StackError
from braid.settings import Settings
from stack.programs import Program

LISTENER = "giveup"
# sun_path holds 104 bytes on the smallest system, and supervisor adds its pid while it binds
SOCKET_BYTES = 90
HERE = Path(__file__).parent


def socket_path(settings: Settings) -> Path:
    """Return the path of the socket: in the home, or in a short folder of this user when the home's is too long."""
    path = settings.run / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    return Path(f"/tmp/braid-{os.getuid()}") / f"{digest}.sock"  # noqa: S108  # 0700 and ours, checked in _own_folder


def write_conf(settings: Settings, programs: list[Program]) -> None:
    """Write run/supervisord.conf, and run/programs/<name>.ini and .json for each program; other programs' stay."""
    for program in programs:
        _file(settings, program.name, "ini").write_text(_program_section(settings, program), "utf-8")
    conf = f"{_main_section(settings)}\n{_listener_section(settings)}\n[include]\nfiles = programs/*.ini\n"
    (settings.run / "supervisord.conf").write_text(conf, "utf-8")


def forget(settings: Settings, names: Iterable[str] | None = None) -> None:
    """Remove the files of these programs, or of all, so that supervisor knows them no more at its next look."""
    stems = {path.stem for path in (settings.run / "programs").glob("*.ini")} if names is None else names
    for name in stems:
        _file(settings, name, "ini").unlink(missing_ok=True)
        _file(settings, name, "json").unlink(missing_ok=True)


def _main_section(settings: Settings) -> str:
    user = "user = root\n" if os.geteuid() == 0 else ""
    sock = _safe(socket_path(settings))
    return f"""[unix_http_server]
file = {sock}
chmod = 0700

[supervisord]
logfile = {_safe(settings.logs / "supervisord.log")}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {_safe(settings.run / "supervisord.pid")}
childlogdir = {_safe(settings.logs)}
identifier = braid
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{sock}
"""


def _listener_section(settings: Settings) -> str:
    # -P: this folder holds a supervisor.py, which must not hide the library
    argv = (str(settings.python), "-P", "-m", "stack.giveup")
    listener = Program(LISTENER, argv, env={"PYTHONPATH": str(HERE.parent), "PYTHONUNBUFFERED": "1"})
    return f"""[eventlistener:{LISTENER}]
command = {_command(settings, listener)}
events = PROCESS_STATE_EXITED,PROCESS_STATE_BACKOFF,PROCESS_STATE_FATAL,TICK_5
autorestart = true
startsecs = 0
stdout_logfile = NONE
stderr_logfile = {_log(settings, LISTENER)}
stderr_logfile_maxbytes = 1MB
stderr_logfile_backups = 1
"""


def _program_section(settings: Settings, program: Program) -> str:
    # told to stop is the program alone: a JVM that got the signal too would go away under its Python's hands;
    # killed is the whole group
    return f"""[program:{program.name}]
command = {_command(settings, program)}
directory = {_safe(settings.home)}
priority = {program.order}
autostart = false
autorestart = true
startsecs = {program.startsecs}
startretries = 5
stopsignal = {program.stopsignal}
stopwaitsecs = {program.stopwaitsecs}
killasgroup = true
redirect_stderr = true
stdout_logfile = {_log(settings, program.name)}
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
"""


def _command(settings: Settings, program: Program) -> str:
    launch = {
        "argv": program.argv,
        "env": program.environment(settings),
        "heartbeat": str(program.heartbeat) if program.heartbeat else None,
        "silent_s": program.silent_s,
    }
    text = json.dumps(launch, indent=1, sort_keys=True)
    path = _file(settings, program.name, "json")
    path.write_text(text, "utf-8")
    # the digest makes supervisor see a change of the launch file as a change of the program
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    words = (sys.executable, "-IS", HERE / "launch.py", path)
    return " ".join(f'"{_safe(word)}"' for word in words) + f" {digest}"


def _file(settings: Settings, name: str, kind: str) -> Path:
    return settings.run / "programs" / f"{name}.{kind}"


def _log(settings: Settings, name: str) -> str:
    # supervisor expands this one option twice
    return _safe(_safe(settings.logs / f"{name}.log"))


def _safe(path: object) -> str:
    text = str(path)
    if any(sign in text for sign in ('"', "\n", " ;", " #")):
        raise StackError(f"{text}: a quote, a line break, ` ;` or ` #` in a path is more than supervisor can read")
    return text.replace("%", "%%")
