"""A small MCP server: `python mcp_server.py [--transport stdio|streamable-http|sse] [--port N] [--log FILE]`.

It has tools that answer, wait, fail, return an image and end the process. Each execution of `count` adds a line to the
log, which is how a test sees that none was made twice.
"""

import argparse
import asyncio
import base64
import os
import sys
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("small")
logs = [Path(os.devnull)]
# One transparent pixel: https://en.wikipedia.org/wiki/PNG#Examples
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(text: str) -> str:
    """Give the text back."""
    return text


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def slow(seconds: float) -> str:
    """Wait, then answer."""
    await asyncio.sleep(seconds)
    return f"waited {seconds:g} s"


@server.tool()
async def count(name: str, seconds: float = 0.0) -> str:
    """Add a line to the log, and answer after a while."""
    with logs[-1].open("a") as file:
        file.write(f"{name}\n")
    await asyncio.sleep(seconds)
    return f"counted {name}"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
async def put(name: str, seconds: float = 0.0) -> str:
    """As count, but said to be idempotent."""
    return await count(name, seconds)


@server.tool()
def image() -> Image:
    """Return a picture."""
    return Image(data=PIXEL, format="png")


@server.tool()
def fail(message: str) -> str:
    """Fail."""
    raise RuntimeError(message)


@server.tool()
def crash() -> str:
    """End the process."""
    print("crashing as asked", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def environment() -> dict[str, str]:
    """Tell the variables of the process."""
    return dict(os.environ)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def process() -> str:
    """Tell the process's id."""
    return str(os.getpid())


def main() -> None:
    """Serve until stdin ends, or for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", default="stdio")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, default=logs[-1])
    options = parser.parse_args()
    logs.append(options.log)
    if options.transport == "stdio":
        server.run("stdio")
    else:
        server.run(options.transport, port=options.port, host="127.0.0.1")


if __name__ == "__main__":
    main()
