"""The floor under a batch runner in Python: one chat completion per input line, and nothing else done.

No crew, retries, checks or row ids; whatever crewrun adds shows as a fraction of this.
"""

import argparse
import asyncio
import json

import aiohttp
import uvloop


def messages(topic: str) -> list[dict[str, str]]:
    """The same amount of text that the one-task crew sends."""
    system = f"You are {topic} Researcher. Expert at researching any topic.\nYour personal goal: Research the topic"
    user = (
        f"Your task: Write a 50-word summary of {topic}\n\nYour final answer must satisfy: A concise summary\n"
        "Reply with the complete answer itself and nothing around it."
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


async def main() -> None:
    """Run over the inputs with a fixed number of requests in flight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs")
    parser.add_argument("output")
    parser.add_argument("--base", required=True)
    parser.add_argument("-j", type=int, default=64)
    options = parser.parse_args()
    with open(options.inputs, encoding="utf-8") as inputs, open(options.output, "w", encoding="utf-8") as output:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> None:
                for line in inputs:
                    row = json.loads(line)
                    body = {"model": "fake", "messages": messages(row["topic"])}
                    async with session.post(f"{options.base}/chat/completions", json=body) as response:
                        answer = await response.json()
                    text = answer["choices"][0]["message"]["content"]
                    output.write(json.dumps({"inputs": row, "raw": text, "usage": answer["usage"]}) + "\n")

            await asyncio.gather(*(work() for _ in range(options.j)))


if __name__ == "__main__":
    uvloop.run(main())
