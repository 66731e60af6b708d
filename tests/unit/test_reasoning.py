"""Drafts that a server leaves in a reply's text: `<think>…</think>` and its like are no part of the answer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from crewrun import LLM, Agent, Crew, Task
from crewrun.crew.output import TaskOutput
from crewrun.crew.text_protocol import read_reply
from crewrun.errors import EmptyReply, OutputInvalid
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.options import GatewayOptions
from crewrun.llm.replies.reasoning import names_tag, part
from crewrun.llm.replies.written_calls import find_calls
from crewrun.llm.schema import NotValid, OutputSchema
from crewrun.messages import Completion, Usage
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

AT_ONCE = GatewayOptions(retry=RetryPolicy(retries=2, base_s=0.0))
MODEL = LLM("gpt-4o-mini", api_key="k")

DRAFTS = {
    "closed": ("<think>I wonder</think>Four", "Four"),
    "lines": ("\n <think>\nI wonder\n</think>\n\nFour\n", "Four"),
    "upper case": ("<THINK>I wonder</Think>Four", "Four"),
    "attributes": ('<thinking type="long" lang=en>I wonder</thinking >Four', "Four"),
    "blanks in the tags": ("< reasoning >I wonder</ reasoning>Four", "Four"),
    "another name": ("<thought>I wonder</thought>Four", "Four"),
    "Kimi's": ("◁think▷I wonder◁/think▷Four", "Four"),
    "Kimi's, lone closing": ("I wonder◁/think▷Four", "Four"),
    "channels": (
        "<|channel|>analysis<|message|>I wonder<|end|><|start|>assistant<|channel|>final<|message|>Four<|return|>",
        "Four",
    ),
    "square": ("[THINK]I wonder[/THINK]Four", "Four"),
    "empty": ("<think>\n\n</think>\n\nFour", "Four"),
    "nothing in it": ("<think/>Four", "Four"),
    "byte order mark": ("\ufeff<think>I wonder</think>Four", "Four"),
    "two": ("<think>I</think>\n<reasoning>wonder</reasoning>Four", "Four"),
    "nested": ("<think>I <think>really</think> wonder</think>Four", "Four"),
    "it speaks of the tag": ("<think>I put it into <think> tags</think>Four", "Four"),
    "lone closing": ("I wonder\n</think>\n\nFour", "Four"),
    "lone closing inside a line": ("I wonder </think> Four", "Four"),
    "lone closing between quoted texts": ('I say "Four"</think>"Four"', '"Four"'),
    "lone closing, of a draft that quotes it": ("I end with `</think>`\n</think>Four", "Four"),
    "lone closing of another name, before a line break": ("I wonder </reasoning> \nFour", "Four"),
    "lone closing of another name, on its line": ("I wonder\n </thoughts>Four", "Four"),
    "lone closing after a block": ("<think>I</think> wonder </think>Four", "Four"),
    "a closing too much": ("<think>I wonder</think>Four</think>", "Four"),
    "an answer in tags": ("<think>I wonder</think><b>Four</b>", "<b>Four</b>"),
    "a tag in the answer": ("<think>I wonder</think>See <think>.", "See <think>."),
}
WHOLE = {
    "plain": "Four",
    "other tags": "<answer>Four</answer>",
    "a tag that begins alike": "<thinker>Four</thinker>",
    "not at the start": "Four. <think>Was that right?</think>",
    "JSON": '{"text": "<think>"}',
    "a list": "[1, 2]",
    "triangles": "◁ and ▷",
    "less than": "3 < 4 and 5 > 4",
    "a closing tag in backticks": "Models end their draft with a `</think>` token. The answer follows it.",
    "a closing tag in quotes": 'They end it with "</think>", as said.',
    "a closing tag in other quotes": "Sie enden mit „</think>“ und sonst nichts.",
    "a closing tag of a document": "Your XML lacks one: add </thoughts> after line 3. Otherwise it is fine.",
    "a closing tag of a document, at the end of a line": "Add `</reasoning>`\nafter line 3.",
}


@pytest.mark.parametrize(("reply", "answer"), DRAFTS.values(), ids=DRAFTS)
async def test_a_draft_is_no_part_of_the_answer(reply: str, answer: str) -> None:
    """At the start, closed or not, or before a lone closing tag."""
    async with scripted(reply):
        assert await MODEL.acall("Two and two?") == answer


@pytest.mark.parametrize("reply", WHOLE.values(), ids=WHOLE)
async def test_other_text_stays_as_it_is(reply: str) -> None:
    """Tags elsewhere, or of other names."""
    async with scripted(reply):
        assert await MODEL.acall("Two and two?") == reply


@pytest.mark.parametrize("reply", ["<think>I wonder", "<think>I wonder</think>\n", "I wonder</think>", "", " \n"])
async def test_a_reply_that_is_only_a_draft_is_an_empty_one(reply: str) -> None:
    """It is asked for again; one that max_tokens cut off is not, since the next would be, too."""
    async with scripted(reply, "Four", options=AT_ONCE):
        assert await MODEL.acall("Two and two?") == "Four"
    async with scripted(*[reply] * 3, options=AT_ONCE):
        with pytest.raises(EmptyReply) as failed:
            await MODEL.acall("Two and two?")
    assert (failed.value.category, failed.value.attempts, failed.value.retryable) == ("output_invalid", 3, True)
    async with scripted(Completion(reply, Usage(9, 0, 3), truncated=True), options=AT_ONCE):
        with pytest.raises(OutputInvalid, match=r"it reached max_tokens") as cut:
            await MODEL.acall("Two and two?")
    assert (type(cut.value), cut.value.billed[0]) == (OutputInvalid, Usage(9, 0, 3))


NAMED = [
    "Put your plan into <think> tags, then answer.",
    "Close with </think>.",
    "First comes a `think` element.",
    "Write a think block and the answer.",
]


@pytest.mark.parametrize("words", NAMED)
async def test_a_tag_that_the_task_asks_for_stays(words: str) -> None:
    """In the task's own text, by name; other tags go all the same."""
    agent = Agent(role="Clerk", goal="g", backstory="b", llm=MODEL)
    crew = Crew(agents=[agent], tasks=[Task(description=words, expected_output="e", agent=agent)])
    async with scripted("<think>I plan</think>Four", "<reasoning>no</reasoning>Four"):
        assert [(await crew.akickoff()).raw for _ in range(2)] == ["<think>I plan</think>Four", "Four"]
    async with scripted("<think>I plan</think>Four"):
        assert await MODEL.acall(words) == "<think>I plan</think>Four"


class Marked(BaseModel):
    """Text in which <think> stands for something."""

    text: str


async def test_a_tag_in_the_schema_is_named_too() -> None:
    """What does not validate with it is sent back, as every answer."""
    async with scripted("<think>", '{"text": "x"}') as model:
        assert await MODEL.acall("x", response_model=Marked) == Marked(text="x")
    assert model.requests[1].messages[1].content == "<think>"


async def test_a_tag_in_a_rows_text_asks_for_nothing() -> None:
    """A block at the start goes; a lone closing tag may be what the answer is about."""
    agent = Agent(role="Clerk", goal="g", backstory="b", llm=MODEL)
    crew = Crew(agents=[agent], tasks=[Task(description="Explain {text}", expected_output="e", agent=agent)])
    async with scripted("<think>I wonder</think>It is a tag.", "It ends with </think> and no more."):
        said = [(await crew.akickoff({"text": "<think>"})).raw for _ in range(2)]
    assert said == ["It is a tag.", "It ends with </think> and no more."]


async def test_a_draft_reaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither guardrails, the judge of a sentence, a file, callbacks, nor the next task."""
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def guardrail(output: TaskOutput) -> tuple[bool, Any]:
        seen.append(output.raw)
        return True, output

    agent = Agent(role="Clerk", goal="g", backstory="b", llm=MODEL)
    first = Task(
        description="Count",
        expected_output="e",
        agent=agent,
        guardrails=[guardrail, "It is a number"],
        output_file="out.txt",
        callback=lambda output: seen.append(output.raw),
    )
    second = Task(description="Double", expected_output="e", agent=agent)
    judgement = '<think>{"valid": false, "feedback": "no"}</think>{"valid": true, "feedback": ""}'
    async with scripted("<think>secret</think>Four", judgement, "secret</think>Eight") as model:
        output = await Crew(agents=[agent], tasks=[first, second]).akickoff()
    assert (output.raw, seen, (tmp_path / "out.txt").read_text()) == ("Eight", ["Four", "Four"], "Four")
    assert "secret" not in str([request.messages for request in model.requests])
    assert "secret" not in str([task.messages for task in output.tasks_output])


ran: list[str] = []


@tool
def delete(name: str) -> str:
    """Delete something."""
    ran.append(name)
    return f"{name} is gone"


async def test_a_tool_that_a_draft_names_is_not_called() -> None:
    """In the text protocol, where a final answer inside a draft is none either."""
    ran.clear()
    agent = Agent(role="Clerk", goal="g", backstory="b", tools=[delete], llm=LLM("gpt-4o-mini", function_calling=False))
    draft = '<think>Thought: shall I?\nAction: delete\nAction Input: {"name": "all"}\nFinal Answer: wrong</think>'
    call = 'Thought: only this\nAction: delete\nAction Input: {"name": "one"}'
    async with scripted(f"{draft}{call}", f"{draft}Final Answer: right"):
        assert (await agent.akickoff("Tidy up")).raw == "right"
    assert ran == ["one"]


async def test_tools_that_stand_beside_a_draft_are_called() -> None:
    """Their turn goes back without it."""
    ran.clear()
    agent = Agent(role="Clerk", goal="g", backstory="b", tools=[delete], llm=MODEL)
    asked = Completion("<think>I do it</think>", Usage(9, 0, 3), tool_calls=calls("delete", name="one").tool_calls)
    async with scripted(asked, "done") as model:
        assert (await agent.akickoff("Tidy up")).raw == "done"
    assert (ran, model.requests[1].messages[-2].content) == (["one"], "")


_PIECES = [
    *(" ", "\n", "<", "< ", "◁think ", "<think ", "<think/>", "<think></think>", "<think><thought>", "</think>", "`"),
    *(
        "```\n",
        "[",
        "[n",
        "[1",
        "[1] ",
        "{",
        '{"a":',
        '{"a":"x}\n',
        "a",
        "a.",
        "think ",
        "tag ",
        "**",
        "to=functions.a",
    ),
    *(
        "Action: look_up\n",
        "Final Answer:",
        "\nThought:",
        "<function=look_up>",
        "<parameter=",
        "<|channel|>",
        "<tool_call>",
    ),
]
_HOSTILE = {
    **{repr(piece): piece * (400_000 // len(piece)) for piece in _PIECES},
    "blanks in a tag": "x</b> <" + " " * 400_000 + "<think>",
    "lines in a closing tag": "</b><\n/" + "\n" * 400_000,
    "blanks after a word": "think" + " " * 400_000 + "tag" + " " * 400_000,
    "blanks in a channel": "<|channel|>" + " " * 400_000 + "a" * 400_000,
    "lines in a fence": "```python\nlook_up" + "\n" * 19_900 + "(a=1)",
    "lines in a long fence": "```python\nlook_up" + "\n" * 400_000 + "(a=1)\n```",
    **{
        f"a word before {mark}": "a" * 400_000 + mark
        for mark in ("[ARGS]", "<|tool_call_argument_begin|>", "<｜tool▁sep｜>", "<|message|>")
    },
    "a deep call": "look_up(1)" + ".a" * 900 + "()",
    "long names": ("to=functions." + "a" * 190) * 2_000 + "<|message|>",
    "long parameters": "<function=look_up>" + ("<parameter=" + "a" * 190) * 2_000,
}


def _known(name: str) -> str | None:
    return "look_up" if name.strip() == "look_up" else None


def _read_as_json(text: str) -> None:
    try:
        OutputSchema.of_model(Marked, "pydantic", "task").read(text)
    except NotValid:
        return


_READERS: dict[str, Callable[[str], object]] = {
    "part": part,
    "names_tag": lambda text: names_tag([text], frozenset({"think", "thoughts"})),
    "find_calls": lambda text: find_calls(text, _known),
    "read_reply": lambda text: read_reply(text, _known),
    "schema": _read_as_json,
}


@pytest.mark.parametrize("read", _READERS.values(), ids=_READERS)
@pytest.mark.parametrize("text", _HOSTILE.values(), ids=_HOSTILE)
def test_a_hostile_text_is_read_in_the_time_of_its_length(text: str, read: Callable[[str], object]) -> None:
    """One reply, or one row's text, would stop all rows of the process else, for minutes."""
    started = time.process_time()
    read(text)
    assert time.process_time() - started < 2
