"""An MCP server over stdio without the SDK, which starts in 30 ms where one with it takes a second.

`python bare_mcp_server.py [--log FILE] [--starts FILE] [--takes SECONDS] [--once] [--ends-never] [--fails TEXT]`. Each
execution of `count` and `put` adds a line to the log, which is how a test sees that none was made twice. With
`--ends-never` it has a child, and both ignore SIGTERM and the end of their input. It must do without the packages of
the tests.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock, Thread
from typing import Any

# One transparent pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_READ_ONLY, _IDEMPOTENT = {"readOnlyHint": True}, {"idempotentHint": True}
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
TOOLS: dict[str, tuple[dict[str, Any], dict[str, bool]]] = {
    "echo": ({"text": _TEXT}, _READ_ONLY),
    "slow": ({"seconds": _NUMBER}, _READ_ONLY),
    "count": ({"name": _TEXT, "seconds": _NUMBER}, {}),
    "put": ({"name": _TEXT, "seconds": _NUMBER}, _IDEMPOTENT),
    "image": ({}, {}),
    "structured": ({}, {}),
    "fail": ({"message": _TEXT}, {}),
    "crash": ({}, {}),
    "environment": ({}, _READ_ONLY),
    "process": ({}, _READ_ONLY),
    "remember": ({"text": _TEXT}, {}),
}
_output = Lock()
_memory: list[str] = []


def send(message: dict[str, Any]) -> None:
    """Write one message."""
    with _output:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def call(tool: str, given: dict[str, Any], log: Path) -> dict[str, Any]:
    """The result of one call."""
    text = ""
    if tool == "echo":
        text = given.get("text", "")
    elif tool in ("count", "put"):
        with log.open("a") as file:
            file.write(f"{given.get('name', '')}\n")
        text = f"counted {given.get('name', '')}"
    elif tool == "image":
        return {"content": [{"type": "image", "data": PIXEL, "mimeType": "image/png"}]}
    elif tool == "structured":
        return {"content": [], "structuredContent": {"degrees": 21}}
    elif tool == "fail":
        return {"content": [{"type": "text", "text": given.get("message", "it failed")}], "isError": True}
    elif tool == "crash":
        print("crashing as it should", file=sys.stderr, flush=True)
        os._exit(3)
    elif tool == "environment":
        text = json.dumps(dict(os.environ))
    elif tool == "process":
        text = str(os.getpid())
    elif tool == "remember":
        _memory.append(given.get("text", ""))
        text = ", ".join(_memory)
    time.sleep(given.get("seconds", 0))
    return {"content": [{"type": "text", "text": text}]}


def answer(request: dict[str, Any], log: Path) -> None:
    """Send the reply to one request."""
    method, number = request["method"], request.get("id")
    result: dict[str, Any]
    if method == "initialize":
        version = request["params"]["protocolVersion"]
        about = {"name": "bare", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
    elif method == "tools/list":
        result = {
            "tools": [
                {
                    "name": name,
                    "description": f"The tool {name}.",
                    "inputSchema": {"type": "object", "properties": fields, "required": [*fields][:1]},
                    "annotations": hints,
                }
                for name, (fields, hints) in TOOLS.items()
            ]
        }
    elif method == "tools/call":
        given = request["params"]
        if given["name"] not in TOOLS:
            send({"id": number, "error": {"code": -32602, "message": f"unknown tool {given['name']}"}})
            return
        result = call(given["name"], given.get("arguments") or {}, log)
    elif number is None:
        return
    else:
        send({"id": number, "error": {"code": -32601, "message": f"no method {method}"}})
        return
    send({"id": number, "result": result})


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    parser.add_argument("--starts", type=Path, default=Path(os.devnull))
    parser.add_argument("--ends-never", action="store_true")
    parser.add_argument("--takes", type=float, default=0.0)
    parser.add_argument("--fails")
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    with options.starts.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if options.fails is not None:
        sys.exit(options.fails)
    if options.once and len(options.starts.read_text().splitlines()) > 1:
        sys.exit("it starts once only")
    if options.ends_never:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A child inherits that a signal is ignored. It has the log in its name, by which a test finds it.
        sleep = "import time; time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", sleep, str(options.starts)], stdin=subprocess.DEVNULL)
    print("bare server is ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        request.get("params", {}).get("arguments", {}).setdefault("seconds", options.takes)
        Thread(target=answer, args=(request, options.log), daemon=True).start()
    while options.ends_never:
        time.sleep(60)


if __name__ == "__main__":
    main()
