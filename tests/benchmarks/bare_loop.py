"""The floor under a batch runner in Python: the calls of each input line, one after another, and nothing else done.

No crew, retries, checks or row ids; whatever crewrun adds shows as a fraction of this.
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvloop

Message = dict[str, Any]
Post = Callable[[dict[str, Any]], Awaitable[Any]]
LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look a topic up.",
        "parameters": {
            "additionalProperties": False,
            "properties": {"topic": {"type": "string"}},
            "required": ["topic"],
            "type": "object",
        },
    },
}


def messages(who: str, task: str, expected: str) -> list[Message]:
    """The same amount of text that a crew sends for one task."""
    user = (
        f"Your task: {task}\n\nYour final answer must satisfy: {expected}\n"
        "Reply with the complete answer itself and nothing around it."
    )
    return [{"role": "system", "content": f"You are {who}"}, {"role": "user", "content": user}]


async def one_task(post: Post, topic: str) -> tuple[str, Any]:
    """What the crew of one task does: one call."""
    who = f"{topic} Researcher. Expert at researching any topic.\nYour personal goal: Research the topic"
    task = f"Write a 50-word summary of {topic}"
    answer = await post({"model": "fake", "messages": messages(who, task, "A concise summary")})
    return answer["choices"][0]["message"]["content"], answer["usage"]


async def with_tool(post: Post, topic: str) -> tuple[str, Any]:
    """What the crew of two tasks does: a call that asks for a tool, one with its result, one for the second task."""
    who = f"{topic} Researcher. Expert at researching any topic.\nYour personal goal: Research the topic"
    turns = messages(who, f"Look {topic} up", "What is known")
    asked = (await post({"model": "fake", "messages": turns, "tools": [LOOKUP]}))["choices"][0]["message"]
    turns.append({"role": "assistant", "content": None, "tool_calls": asked["tool_calls"]})
    for call in asked["tool_calls"]:
        result = f"{json.loads(call['function']['arguments'])['topic']} is well known"
        turns.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    found = (await post({"model": "fake", "messages": turns, "tools": [LOOKUP]}))["choices"][0]["message"]["content"]
    writer = "Writer. Expert at writing.\nYour personal goal: Write it down"
    turns = messages(writer, f"Write a 50-word summary of {topic}", "A concise summary")
    turns[-1]["content"] += f"\n\nUse what was found earlier:\n{found}"
    answer = await post({"model": "fake", "messages": turns})
    return answer["choices"][0]["message"]["content"], answer["usage"]


async def main() -> None:
    """Run over the inputs with a fixed number of requests in flight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs")
    parser.add_argument("output")
    parser.add_argument("--base", required=True)
    parser.add_argument("--tools", action="store_true", help="three calls for each line, one of them for a tool")
    parser.add_argument("-j", type=int, default=64)
    options = parser.parse_args()
    do = with_tool if options.tools else one_task
    with open(options.inputs, encoding="utf-8") as inputs, open(options.output, "w", encoding="utf-8") as output:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def post(body: dict[str, Any]) -> Any:
                async with session.post(f"{options.base}/chat/completions", json=body) as response:
                    return await response.json()

            async def work() -> None:
                for line in inputs:
                    row = json.loads(line)
                    text, usage = await do(post, row["topic"])
                    output.write(json.dumps({"inputs": row, "raw": text, "usage": usage}) + "\n")

            await asyncio.gather(*(work() for _ in range(options.j)))


if __name__ == "__main__":
    uvloop.run(main())
