"""MCP servers for tests: the path of `bare_mcp_server`, `mcp_server` over HTTP, and what agents got from them."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.workspace import Place

BARE = Path(__file__).with_name("bare_mcp_server.py")
_SMALL = Path(__file__).with_name("mcp_server.py")
# The first answer of a Python process on a busy machine takes seconds.
_LONGEST_S = 60


@contextmanager
def served(transport: str, *more: str) -> Iterator[str]:
    """The URL of the small server over `streamable-http` or `sse`, on a port of the loopback."""
    port = free_port()
    command = [sys.executable, str(_SMALL), "--transport", transport, "--port", str(port), *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_listening(process)
        yield f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_listening(process: "subprocess.Popen[bytes]") -> None:
    """Wait until uvicorn says that it serves."""
    assert process.stderr is not None
    for line in process.stderr:
        if b"Uvicorn running" in line:
            return
    raise AssertionError(f"the server ended with {process.wait(_LONGEST_S)}")


def tool_results(place: Place) -> list[str]:
    """What tools gave in all requests so far, each result once for each row that has it."""
    requests = place.mock.ledger(last=place.sent())["requests"]
    return [_text(m["content"]) for request in requests for m in request["messages"] if m["role"] == "tool"]


def tools_offered(place: Place) -> list[str]:
    """The names of the tools that the last request offered."""
    (request,) = place.mock.ledger(last=1)["requests"]
    return list(request["tools"])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
