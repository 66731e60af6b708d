"""An MCP server without the SDK, whose import takes longer than most tests: `python tiny_mcp_server.py`.

It speaks as much of the protocol over standard input and output as a client needs to list and call tools:
https://modelcontextprotocol.io/specification
"""

import json
import os
import sys
from typing import Any

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = {
    "echo": ("Give the text back.", TEXT),
    "environment": ("Tell the variables of the process.", NOTHING),
    "process": ("Tell the process's id.", NOTHING),
    "Read-File": ("Has a name that models get in another spelling.", NOTHING),
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for a method that it does not have."""
    if method == "initialize":
        info = {"name": "tiny", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": n, "description": d, "inputSchema": s} for n, (d, s) in TOOLS.items()]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": result(params["name"], params.get("arguments") or {})}]}
    return {} if method == "ping" else None


def result(tool: str, arguments: dict[str, Any]) -> str:
    """What a tool gives."""
    results = {"process": str(os.getpid()), "environment": json.dumps(dict(os.environ)), "Read-File": "read"}
    return results.get(tool) or str(arguments["text"])


def main() -> None:
    """Answer until standard input ends."""
    print("the tiny server has started", file=sys.stderr, flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        outcome = answer(message["method"], message.get("params") or {})
        missing = {"code": -32601, "message": f"no method {message['method']}"}
        reply |= {"error": missing} if outcome is None else {"result": outcome}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
