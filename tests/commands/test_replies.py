"""Replies of odd kinds, as whole commands: what their rows say, and how often the provider was asked.

What a reply means is in `crewrun.llm.transports.chat_json`, `finish_reasons`, `embedded_errors` and `answer`.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.command import read_rows
from support.local_workers import NEAR
from support.scripted_provider import Asked, Fickle, Reply
from support.transport_contract import reply_with
from support.workspace import RESULTS, STATE, Place


@dataclass(frozen=True, slots=True)
class Raw(Reply):
    """A reply of any shape."""

    raw: Any = None

    def body(self, model: str) -> Any:
        return self.raw


def says(text: Any, finish_reason: Any = "stop", status: int = 200, choice: Any = None, **beside: Any) -> Raw:
    """A completion with this text, and what else stands in the choice and beside the choices."""
    reply = reply_with({"content": text}, finish_reason)
    reply["choices"][0] |= choice or {}
    return Raw(status, raw={**reply, **beside})


def fails(**reply: Any) -> Raw:
    """A 200 that is no completion."""
    return Raw(raw=reply)


def calls_tool(*ids: Any, arguments: str = '{"word": "owl"}', finish_reason: str = "tool_calls", **beside: Any) -> Raw:
    """A turn that asks for `look_up` once for each id; `beside` stands in the message."""
    calls = [{"id": i, "type": "function", "function": {"name": "look_up", "arguments": arguments}} for i in ids]
    return Raw(raw=reply_with({"content": None, "tool_calls": calls, **beside}, finish_reason))


OK, SERVER, FILTER = ("ok", None, 1), ("failed", "server", 2), ("failed", "content_filter", 1)
EMPTY, CUT = ("failed", "output_invalid", 2), ("failed", "output_invalid", 1)
# A name: the reply to every attempt, and with one retry the row's status, its category and its attempts.
CASES: Mapping[str, tuple[Raw, tuple[str, str | None, int]]] = {
    "done": (says("yes"), OK),
    "done-eos": (says("yes", "EOS"), OK),
    "done-null": (says("yes", None), OK),
    "done-201": (says("yes", status=201), OK),
    "done-206": (says("yes", status=206), OK),
    "done-error-null": (says("yes", error=None), OK),
    "done-error-empty": (says("yes", error={}), OK),
    "done-error-blank": (says("yes", error={"message": "", "code": None}), OK),
    "done-unknown": (says("yes", "pondered"), OK),
    "done-unknown-again": (says("yes", "Pondered"), OK),
    "cut": (says("ye", "MAX_TOKENS"), OK),
    "failed-error": (says("partial", "error"), SERVER),
    "failed-upper": (says("partial", "ERROR"), SERVER),
    "failed-abort": (says("partial", "abort"), SERVER),
    "failed-resource": (says("partial", "insufficient_system_resource"), SERVER),
    "failed-other-word": (says("partial", "upstream_disconnected"), SERVER),
    "failed-call": (calls_tool("call_1", finish_reason="malformed_function_call"), SERVER),
    "failed-unknown-call": (calls_tool("call_1", arguments='{"word": "o', finish_reason="pondered"), SERVER),
    "failed-choice": (says("partial", choice={"error": {"code": 502, "message": "provider went away"}}), SERVER),
    "failed-beside": (says("partial", error={"code": "server_error", "message": "m"}), SERVER),
    "failed-text": (says("partial", error="the engine died"), SERVER),
    "failed-null": (fails(choices=None, error={"message": "no code at all"}), SERVER),
    "failed-empty": (fails(choices=[]), SERVER),
    "failed-message": (fails(choices=[{"message": None, "finish_reason": "stop"}]), SERVER),
    "failed-flat": (fails(object="error", message="the engine died", code=500), SERVER),
    "filtered": (says("partial", "SAFETY"), FILTER),
    "filtered-other-word": (says("partial", "blocked_by_guardrail"), FILTER),
    "filtered-inside": (fails(error={"code": "content_filter", "message": "flagged"}), FILTER),
    "refused-long": (
        fails(error={"code": "400", "message": "maximum context length is 8 tokens"}),
        ("failed", "context_length", 1),
    ),
    "refused-bad": (fails(error={"type": "invalid_request_error", "message": "no"}), ("failed", "bad_request", 1)),
    "limited": (fails(choices=[], error={"code": "429", "message": "slow down"}), ("failed", "rate_limit", 2)),
    "limited-array": (Raw(raw=[{"error": {"code": 429, "message": "slow down"}}]), ("failed", "rate_limit", 2)),
    "empty": (says(""), EMPTY),
    "empty-null": (says(None), EMPTY),
    "empty-blank": (says(" \n"), EMPTY),
    "empty-draft": (says("<think>I wonder"), EMPTY),
    "empty-draft-closed": (says("<think>I wonder</think>\n"), EMPTY),
    "empty-cut": (says(None, "length"), CUT),
    "empty-draft-cut": (says("<think>I wonder", "length"), CUT),
    "empty-call-cut": (calls_tool("call_1", arguments="", finish_reason="length"), CUT),
}


def test_every_kind_of_reply_has_its_row(place: Place) -> None:
    """Status, category and attempts; and no reply decides for another row."""
    place.rows(*({"topic": f"case {name}."} for name in CASES))

    def reply(asked: Asked) -> Raw:
        name = asked.prompt.partition("case ")[2].partition(".")[0]
        return CASES[name][0] if name else says("OK")  # a probe

    with Fickle(reply) as provider:
        place.batch("-j", "16", "--retries", "1", "--summary", "s.json", code=3, OPENAI_BASE_URL=provider.base_url)
    rows = {row["input"]["topic"][5:-1]: row for row in read_rows(place.results)}
    # Whichever row met a refusal first has the probe on its account: the error counts its own attempts.
    found = {
        name: (row["status"], error.get("category"), error.get("attempts", row["attempts"]))
        for name, row in rows.items()
        for error in [row["error"] or {}]
    }
    assert found == {name: expected for name, (_, expected) in CASES.items()}
    answers = {name: row["output"] for name, row in rows.items() if row["status"] == "ok"}
    assert answers == {name: "ye" if name == "cut" else "yes" for name in answers}
    assert [name for name, row in rows.items() if row["status"] == "ok" and row["tasks"][0].get("truncated")] == ["cut"]
    # All that was billed is counted, for every attempt.
    billed = {
        name: row["usage"]["completion_tokens"] for name, row in rows.items() if "usage" in str(CASES[name][0].raw)
    }
    assert billed == {name: 3 * rows[name]["attempts"] for name in billed}
    # Unknown words are in the tasks, and warned of once.
    odd = {name: row["tasks"][0]["finish_reason"] for name, row in rows.items() if "finish_reason" in str(row["tasks"])}
    assert odd == {"done-unknown": "pondered", "done-unknown-again": "Pondered"}
    (warning,) = [line for line in place.stderr.splitlines() if "finish_reason" in line and line.startswith("warning")]
    assert "'pondered'" in warning
    assert place.summary()["finish_reasons"] in (["pondered", "Pondered"], ["Pondered", "pondered"])
    # From the journal they come as they were.
    lines = _good_lines(place)
    place.results.unlink()
    place.batch("--replay", code=3, OPENAI_BASE_URL=provider.base_url)
    assert _good_lines(place) == lines


def _good_lines(place: Place) -> list[bytes]:
    return sorted(line for line in place.results.read_bytes().splitlines() if b'"status":"ok"' in line)


def test_an_empty_reply_is_asked_for_again_and_then_an_answer(place: Place) -> None:
    """Its tokens are the row's; without an answer in the end the summary says what helps."""
    place.rows({"topic": "owls"})
    with Fickle(lambda asked: says("" if asked.number == 1 else "an answer")) as provider:
        place.batch("--retries", "1", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert (row["output"], row["attempts"], row["usage"]["prompt_tokens"]) == ("an answer", 2, 18)
    with Fickle(lambda _: says("<reasoning>only that")) as provider:
        place.batch("--retries", "1", "--fresh", "--summary", "s.json", code=3, OPENAI_BASE_URL=provider.base_url)
    (failure,) = place.summary()["failures"]
    assert (
        failure["type"],
        "only reasoning" in failure["example"]["message"],
        "raise max_tokens" in failure["hint"],
    ) == (
        "EmptyReply",
        True,
        True,
    )


def test_only_replies_that_are_whole_answers_of_one_run_reach_the_next_session(place: Place) -> None:
    """An account that is empty, said inside a 200, stops the run as a 402 does."""
    place.rows({"topic": "a"}, {"topic": "b"}, {"topic": "c"})
    with Fickle(lambda _: fails(error={"code": 402, "message": "no credit"})) as provider:
        place.batch("-j", "2", code=4, OPENAI_BASE_URL=provider.base_url)
    assert place.stopped().endswith("HTTP 402: no credit")


TOOL = """\
from crewrun.tools import tool

@tool
def look_up(word: str) -> str:
    '''Look a word up.'''
    with open("calls.txt", "a") as file:
        file.write(word + "\\n")
    return f"what {word} means"
"""
CREW = """\
agents:
  writer:
    role: Writer
    goal: Write
    backstory: b
    tools: [glossary:look_up]
tasks:
  draft:
    agent: writer
    description: Write about {topic}
    expected_output: One line
  review:
    agent: writer
    description: Review {topic}
    expected_output: One line
llm: gpt-4.1-mini
"""
DETAILS = [{"type": "reasoning.text", "text": "I look", "signature": "sig"}]
SIGNED = {"google": {"thought_signature": "c2ln"}}


def tool_place(place: Place) -> Place:
    (place.folder / "glossary.py").write_text(TOOL)
    (place.folder / "crew.yaml").write_text(CREW)
    place.rows({"topic": "owls"})
    return place


def strict(asked: Asked) -> Raw:
    """A provider that repeats its ids, and refuses turns that do not bring everything back as it came."""
    turns = [turn for turn in asked.body["messages"] if turn["role"] == "assistant"]
    ids = [call["id"] for turn in turns for call in turn["tool_calls"]]
    results = [turn["tool_call_id"] for turn in asked.body["messages"] if turn["role"] == "tool"]
    for turn in turns:
        if (turn.get("reasoning_content"), turn.get("reasoning_details")) != ("I look", DETAILS):
            return Raw(400, "the reasoning is missing", raw={"error": {"message": "the reasoning is missing"}})
        if any(call.get("extra_content") != SIGNED for call in turn["tool_calls"]):
            return Raw(400, raw={"error": {"message": "a thought signature is missing"}})
    if ids != results or len(set(ids)) != len(ids):
        return Raw(400, raw={"error": {"message": f"duplicate ids {ids} for {results}"}})
    if len(turns) == 2 or "Review" in asked.prompt:
        return says("an answer")
    reply = calls_tool("call_0", "call_0", None, "", reasoning_content="I look", reasoning_details=DETAILS)
    for call in reply.raw["choices"][0]["message"]["tool_calls"]:
        call["extra_content"] = SIGNED
    return reply


@pytest.mark.parametrize("flags", [(), ("--executor", NEAR)], ids=["here", "on workers"])
def test_what_a_turn_carried_goes_back_with_ids_that_are_unique(place: Place, flags: tuple[str, ...]) -> None:
    """Also out of the journal, where the next session goes on, and out of a cache, which answers everything again."""
    tool_place(place)

    is_broken = True

    def reply(asked: Asked) -> Raw:
        if is_broken and "Review" in asked.prompt:
            return Raw(400, raw={"error": {"message": "not today"}})
        return strict(asked)

    with Fickle(reply) as provider:
        place.batch(*flags, "--cache", "c", code=3, OPENAI_BASE_URL=provider.base_url)
        asked = len(provider.asked)
        is_broken = False
        place.batch(*flags, "--cache", "c", OPENAI_BASE_URL=provider.base_url)
        sent = [one.prompt.partition("\n")[0] for one in provider.asked[asked:]]
        place.batch(*flags, "--cache", "c", "--fresh", OPENAI_BASE_URL=provider.base_url)
        shown = json.loads(_show(place, "--json", base_url=provider.base_url))
    (row,) = read_rows(place.results)
    assert (asked, sent, len(provider.asked), row["output"]) == (4, ["Your task: Review owls"], 5, "an answer")
    drafts = [call for call in shown["calls"] if call["task"] == "draft" and call["kind"] == "answer"]
    assert [call.get("reasoning") for call in drafts] == ["I look", "I look", None]
    assert [call["prompt_source"] for call in drafts] == ["rebuilt"] * 3


def _show(place: Place, *flags: str, base_url: str = "") -> str:
    (row,) = read_rows(place.results)
    place.crewrun("show", RESULTS, row["id"], *flags, OPENAI_BASE_URL=base_url or place.mock.base_url)
    return place.stdout


def test_a_call_that_was_cut_off_is_not_made(place: Place) -> None:
    """The whole one beside it is, and the model may ask again; arguments that had not begun are no empty ones."""
    tool_place(place)

    def reply(asked: Asked) -> Raw:
        if any(turn["role"] == "tool" for turn in asked.body["messages"]) or "Review" in asked.prompt:
            return says("an answer")
        cut = calls_tool("a", "b", finish_reason="length")
        cut.raw["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"] = ""
        return cut

    with Fickle(reply) as provider:
        place.batch(OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert (row["output"], row["tasks"][0]["truncated"]) == ("an answer", True)
    assert (place.folder / "calls.txt").read_text() == "owl\n"


def test_a_draft_is_recorded_beside_its_reply(place: Place) -> None:
    """`show` and --log-prompts have both, from both places where servers put it."""
    place.rows({"topic": "owls"})
    reply = reply_with({"content": "<think>One\n</think>\n\nthe answer", "reasoning_content": "Zero"}, "stop")
    with Fickle(lambda _: Raw(raw=reply)) as provider:
        place.batch("--log-prompts", OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    assert (row["output"], row["tasks"][0]["output"]) == ("the answer", "the answer")
    assert "  reasoning, no part of the reply:\n    Zero\n    One\n  reply:\n    the answer\n" in _show(place)
    (call,) = json.loads(_show(place, "--json"))["calls"]
    assert (call["reasoning"], call["reply"]) == ("Zero\nOne", "the answer")
    events = [json.loads(line) for line in (place.folder / STATE / "log.jsonl").read_text().splitlines()]
    (prompt,) = [event for event in events if event["event"] == "prompt"]
    assert (prompt["reasoning"], prompt["reply"]) == ("Zero\nOne", "the answer")


@pytest.mark.parametrize("kept", ["<think>old draft</think>old answer", "<think>only a draft</think>", " "])
def test_a_draft_in_an_older_journal_is_no_answer_either(place: Place, kept: str) -> None:
    """Of a row that goes on, the answer is what is left without it; where that is nothing, the call is made again."""
    place.crew("Review {topic}")
    place.rows({"topic": "owls"})
    is_broken = True

    def reply(asked: Asked) -> Reply:
        return Reply(400, "no") if is_broken and "Review" in asked.prompt else Reply(text="new answer")

    with Fickle(reply) as provider:
        place.batch(code=3, OPENAI_BASE_URL=provider.base_url)
        is_broken = False
        _change_replies(place, kept)
        asked = len(provider.asked)
        place.batch(OPENAI_BASE_URL=provider.base_url)
    (row,) = read_rows(place.results)
    known, sent = ("old answer", 1) if "old answer" in kept else ("new answer", 2)
    assert [task["output"] for task in row["tasks"]] == [known, "new answer"]
    assert (len(provider.asked) - asked, provider.asked[-1].prompt.count("draft")) == (sent, 0)


def _change_replies(place: Place, text: str) -> None:
    db = sqlite3.connect(place.folder / STATE / "journal.sqlite")
    db.execute("update calls set reply = ? where kind = 0", (text.encode(),))
    db.commit()
    db.close()
