"""An HTTP load over kept-alive connections, in a process of its own: closed loop for the peak, open loop for latencies.

    echo '{"port": 5000, "paths": ["/…"], "viewers": 50, "seconds": 5, "rate": null, "etag": null}' | python -m bench.http_load

What to ask comes as a line on stdin: thousands of paths are too long for a command.

Without a rate every viewer asks again as soon as it is answered. With one, requests are due at fixed times, spread over the
viewers, and a latency counts from when it was due: a server that stalls is not let off the requests it kept waiting.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_TAG = re.compile(rb"etag: ([^\r\n]+)", re.IGNORECASE)


def main() -> None:
    """Ask, and say how many were answered, how, and how fast."""
    sys.stdout.write(json.dumps(asyncio.run(_load(json.loads(sys.stdin.readline())))) + "\n")


async def _load(spec: dict[str, Any]) -> dict[str, Any]:
    paths, viewers = spec["paths"], int(spec["viewers"])
    tag = (await _tag(spec["port"], paths[0])) if spec.get("etag") else ""
    requests = [_request(path, tag) for path in paths]
    told: dict[str, Any] = {"statuses": {}, "latencies_s": [], "bytes": 0}
    began = time.monotonic()
    until, rate = began + float(spec["seconds"]), spec.get("rate")
    await asyncio.gather(
        *(_viewer(spec["port"], requests, k, viewers, began, until, rate, told) for k in range(viewers))
    )
    seconds = time.monotonic() - began
    latencies = sorted(told.pop("latencies_s"))
    return told | {
        "seconds": seconds,
        "answered": len(latencies),
        "per_s": len(latencies) / seconds,
        "latencies_s": latencies[:: max(1, len(latencies) // 5000)],
    }


def _request(path: str, tag: str) -> bytes:
    match = f"If-None-Match: {tag}\r\n" if tag else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{match}\r\n".encode()


async def _tag(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(path, ""))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    found = _TAG.search(head)
    return found[1].decode() if found else ""


async def _viewer(
    port: int,
    requests: list[bytes],
    k: int,
    viewers: int,
    began: float,
    until: float,
    rate: float | None,
    told: dict[str, Any],
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    turn = 0
    while True:
        due = time.monotonic() if rate is None else began + (k + turn * viewers) / rate
        if due >= until:
            break
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        writer.write(requests[(k + turn * viewers) % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length and int(length[1]):
            await reader.readexactly(int(length[1]))
            told["bytes"] += int(length[1])
        status = head[9:12].decode()
        told["statuses"][status] = told["statuses"].get(status, 0) + 1
        told["latencies_s"].append(time.monotonic() - due)
        turn += 1
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    main()
