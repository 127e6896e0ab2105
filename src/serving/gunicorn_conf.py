"""How gunicorn runs the API: one worker with threads, on two loopback ports.

One worker, so that one follower per dataset asks the stores; more may stand behind a proxy, each consistent by itself.
Nothing is loaded before the fork: drivers do not survive one.
"""

from pathlib import Path
from typing import Any

from braid.adapters import environment
from braid.settings import LOOPBACK
from serving import logs

_settings = environment.load()

bind = [f"{LOOPBACK}:{_settings.ports.api}", f"{LOOPBACK}:{_settings.ports.dashboard}"]
workers = 1
worker_class = "serving.worker.Worker"
threads = 16
preload_app = False
keepalive = 5
timeout = 30
graceful_timeout = 10
limit_request_line = 8190  # from a query of 4 kB on the application answers 414 itself
limit_request_field_size = 8190
limit_request_fields = 60
control_socket_disable = True
# the worker says that it lives by touching a file: in memory, where a slow disk cannot make it look dead
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - gunicorn makes its own file there
proc_name = "braid-api"
logconfig_dict = logs.config()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop the threads that follow the stores, so that the process can end."""
    del server
    service = getattr(worker.wsgi, "extensions", {}).get("braid")
    if service is not None:
        service.stop()
