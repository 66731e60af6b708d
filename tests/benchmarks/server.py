"""The fastest OpenAI-compatible server that fits on a page: what a client can do at best is measured against it."""

import argparse
import asyncio
import json
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
ASKING = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "%s", "arguments": '{"topic": "tides"}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 12, "total_tokens": 72},
    }
).encode()


def reply(body: bytes) -> bytes:
    """A chat completion with plausible usage for the request in `body`; the first time one that asks for its tool."""
    request = json.loads(body)
    if "tools" in request and request["messages"][-1]["role"] == "user":
        name: str = request["tools"][0]["function"]["name"]
        return ASKING % name.encode()
    prompt_tokens = sum(len(message["content"] or "") for message in request["messages"]) // 4 + 1
    message = {"role": "assistant", "content": f"reply to {prompt_tokens} tokens"}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 6, "total_tokens": prompt_tokens + 6}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": usage,
        }
    ).encode()


class Server(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request at a time on a connection."""

    latency_s = 0.0

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without inheriting from it

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.answer, body)
            else:
                self.answer(body)

    def answer(self, body: bytes) -> None:
        """Write the reply unless the client has gone."""
        payload = reply(body)
        if not self.transport.is_closing():
            self.transport.write(_HEAD % len(payload) + payload)


async def main() -> None:
    """Listen until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    Server.latency_s = parser.parse_args().latency
    listening = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
