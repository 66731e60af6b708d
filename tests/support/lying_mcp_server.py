"""The bare MCP server with one fault of servers: `python lying_mcp_server.py FAULT [what bare_mcp_server takes]`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import bare_mcp_server as bare

_send = bare.send


def _raw(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _instead(part: str, reply: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """What sends messages as the bare server does, except that `reply` sends those whose result has `part`."""
    return lambda message: reply(message) if part in message.get("result", {}) else _send(message)


def _without_schema(message: dict[str, Any]) -> None:
    for tool in message["result"]["tools"]:
        del tool["inputSchema"]
    _send(message)


def _in_latin_1(message: dict[str, Any]) -> None:
    text = b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "gr\xfcn"}]}}'
    _raw(text % message["id"])


FAULTS = {
    "prints": _send,
    "list-fails": _instead("tools", lambda m: _send({"id": m["id"], "error": {"code": -32603, "message": "no frogs"}})),
    "list-never": _instead("tools", lambda m: None),
    "list-endless": _instead("tools", lambda m: _send({**m, "result": {**m["result"], "nextCursor": "again"}})),
    "no-schema": _instead("tools", _without_schema),
    "call-fails": _instead(
        "content", lambda m: _send({"id": m["id"], "error": {"code": -32000, "message": "no toads"}})
    ),
    "latin-1": _instead("content", _in_latin_1),
    "no-result": _instead("content", lambda m: _send({"id": m["id"], "result": {"content": "a text"}})),
}


if __name__ == "__main__":
    fault = sys.argv.pop(1)
    setattr(bare, "send", FAULTS[fault])  # noqa: B010  (mypy takes no assignment to a function)
    if fault == "prints":
        _raw(b"Starting the server...")
    bare.main()
