"""Messages whose content is in parts, with roles and turns of all kinds, in `LLM.call` and `Agent.kickoff`."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.content_parts import data_uri, image, png, text
from support.provider import serving

from crewrun import LLM, Agent, Gateway, GatewayOptions
from crewrun.errors import InputInvalid
from crewrun.files import ImageFile, TextFile
from crewrun.limits.estimates import fewest_tokens
from crewrun.llm.request_identity import Identities
from crewrun.llm.transports.chat_json import message_on_wire
from crewrun.messages import ChatRequest, Endpoint, Message, Part, ToolCall, in_parts
from crewrun.testing import calls, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio

LLM_M = LLM("openai/m")
URL = "https://example.com/cat.png"
ENDPOINT = Endpoint("direct", "openai", "m", "https://example.com/v1", params={"temperature": 0})


async def on_the_wire(*messages: dict[str, Any]) -> Any:
    """What a provider gets of them in one call."""
    async with serving() as provider:
        provider.reply({"choices": [{"message": {"content": "ok"}}], "usage": {"prompt_tokens": 9}})
        llm = LLM("m", provider="openai", base_url=provider.url, api_key="k")
        async with Gateway():
            assert await llm.acall(list(messages)) == "ok"
        return provider.asked[0][2]["messages"]


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"n": 1}'}}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(
            [{"role": "user", "content": [text("What is it?"), image(URL), text("Be brief.")]}], id="in order"
        ),
        pytest.param([{"role": "user", "content": [image(data_uri(png()))]}], id="an image alone"),
        pytest.param(
            [{"role": "user", "content": [{**text("Long."), "cache_control": {"type": "ephemeral"}}]}], id="more fields"
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL, "detail": "low"}}]}],
            id="detail",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}, {"type": "odd", "x": [1]}]}],
            id="of other types",
        ),
        pytest.param(
            [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi", "name": "Ann"}],
            id="developer and names",
        ),
        pytest.param(
            [
                {"role": "user", "content": "Add"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "2", "tool_call_id": "c1"},
            ],
            id="a round of tools",
        ),
        pytest.param(
            [
                {"role": "user", "content": "Add"},
                {"role": "assistant", "content": None, "refusal": "No."},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": "Go on"},
            ],
            id="turns without content",
        ),
    ],
)
async def test_messages_reach_the_provider_as_they_are(messages: list[dict[str, Any]]) -> None:
    """Whatever of OpenAI's chat completions is in them."""
    assert await on_the_wire(*messages) == messages


async def test_shorter_forms_become_openai_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text among the parts, an address without its mapping, a path, a file object, CrewAI's `files` and its marks,
    and calls in the form of an output's messages.
    """
    monkeypatch.chdir(tmp_path)
    Path("cat.png").write_bytes(png(2))
    Path("notes.txt").write_text("Meow.")
    given_turns: list[dict[str, Any]] = [
        {"role": "user", "content": ["See", {"type": "image_url", "image_url": URL}, image("cat.png")]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "name": "add", "arguments": {"n": 1}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [ImageFile(source=png(3))]},
        {"role": "user", "content": "And?", "files": {"n": TextFile(source="notes.txt")}, "cache_breakpoint": True},
    ]
    assert await on_the_wire(*given_turns) == [
        {"role": "user", "content": [text("See"), image(URL), image(data_uri(png(2)))]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {"name": "add", "arguments": '{"n":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [image(data_uri(png(3)))]},
        {"role": "user", "content": [text("And?"), text("File n (notes.txt):\nMeow.")]},
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param("Hi", " is 'Hi'; a message is a mapping with `role` and `content`", id="no mapping"),
        pytest.param(
            {"content": "Hi"}, " has no role; a role is one of system, developer, user, assistant, tool", id="no role"
        ),
        pytest.param(
            {"role": "usr", "content": "Hi"},
            " has the role 'usr' (did you mean 'user'?); a role is one of system, developer, user, assistant, tool",
            id="another role",
        ),
        pytest.param(
            {"role": "user", "content": None},
            " needs `content`, a text or a list of parts; only an assistant's turn may have none",
            id="no content",
        ),
        pytest.param(
            {"role": "user", "content": 5}, " has 5 as `content`; it is a text, or a list of parts", id="number"
        ),
        pytest.param(
            {"role": "user", "content": []}, " has [] as `content`; it is a text, or a list of parts", id="no part"
        ),
        pytest.param(
            {"role": "user", "content": [5]},
            ".content[0] is 5; a part is a mapping with `type`, such as text or image_url",
            id="no part of a content",
        ),
        pytest.param(
            {"role": "user", "content": [{"text": "Hi"}]},
            ".content[0] is {'text': 'Hi'}; a part is a mapping with `type`, such as text or image_url",
            id="a part without type",
        ),
        pytest.param(
            {"role": "user", "content": [{"type": "text"}]},
            ".content[0] is a part of type text, and its `text` is None",
            id="a text part without text",
        ),
        pytest.param(
            {"role": "user", "content": [{"type": "image_url", "url": URL}]},
            ".content[0] needs `image_url` with a `url`: a URL, a data URI or a path",
            id="an image without address",
        ),
        pytest.param(
            {"role": "user", "content": [image("file:///etc/passwd")]},
            ".content[0]: 'file:///etc/passwd' is not a URL for a model; those begin with https: or data:",
            id="an address of this machine",
        ),
        pytest.param(
            {"role": "tool", "content": "2"},
            " is a tool's result and needs `tool_call_id`, the id of the call",
            id="a tool without its call",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"name": "add"}]},
            ".tool_calls[0] is not a call with `id` and `function`, a mapping with `name` and `arguments`",
            id="a call without id",
        ),
        pytest.param(
            {"role": "user", "content": [{"type": "odd", "x": b"1"}]},
            ".content[0] is not JSON: Object of type bytes is not JSON serializable",
            id="bytes",
        ),
    ],
)
async def test_a_wrong_message_says_which_and_what_is_wrong(message: Any, said: str) -> None:
    """Before anything is sent, to a model and to an agent alike."""
    agent = Agent(role="r", goal="g", backstory="b")
    async with scripted():
        for ask in (LLM_M.acall, agent.akickoff):
            with pytest.raises((TypeError, InputInvalid)) as refused:
                await ask([message])
            assert str(refused.value) == f"messages[0]{said}"


@pytest.mark.parametrize("path", ["../out.png", "/etc/hostname", "link.png", ".hidden.png", "none.png", "."])
async def test_a_path_in_a_message_stays_in_the_folder(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows who wrote it there."""
    folder = tmp_path / "crew"
    folder.mkdir()
    (tmp_path / "out.png").write_bytes(png())
    (folder / ".hidden.png").write_bytes(png())
    (folder / "link.png").symlink_to("../out.png")
    monkeypatch.chdir(folder)
    async with scripted():
        with pytest.raises(InputInvalid, match=r"^messages\[0\]\.content\[0\]\.image_url: "):
            await LLM_M.acall([{"role": "user", "content": [image(path)]}])


async def test_an_agent_is_asked_in_parts(tmp_path: Path) -> None:
    """Its task is the last message; what it is told before and `input_files` behind keep their places."""
    Path(tmp_path, "cat.png").write_bytes(png())
    agent = Agent(role="Looker", goal="g", backstory="b", use_system_prompt=False)
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": [image(URL)]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": [text("And this?"), image(URL), text("Be brief.")]},
    ]
    async with scripted("a", "b") as model:
        output = await agent.akickoff(turns)
        await agent.akickoff("Look", None, {"photo": f"{tmp_path}/cat.png", "rules": TextFile(source=b"Be kind.")})
    told, asked = (request.messages for request in model.requests)
    persona = "You are Looker. b\nYour personal goal: g\n\n"
    assert [message_on_wire(message) for message in told] == [
        *turns[:2],
        {"role": "user", "content": [text(persona), *turns[2]["content"]]},
    ]
    assert output.messages[0] == turns[0]
    listed = "Look\n\nThese files come with the task, in this order:\n- photo: cat.png (image/png)\n- rules: text/plain"
    assert [message_on_wire(message) for message in asked] == [
        {
            "role": "user",
            "content": [text(persona + listed), image(data_uri(png())), text("File rules:\nBe kind.")],
        }
    ]


async def test_the_last_message_of_an_agent_is_no_turn_with_tools() -> None:
    """Its task would be lost between the call and its result."""
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    async with scripted():
        with pytest.raises(
            TypeError, match=r"^the last message of an agent's kickoff is its task, and no turn with tools$"
        ):
            await Agent(role="r", goal="g", backstory="b").akickoff(turns)


async def test_images_stay_with_an_agent_that_uses_tools() -> None:
    """In every turn, natively and in words."""

    @tool
    def look_up(word: str) -> str:
        """Looks a word up."""
        return "A cat."

    turn: list[dict[str, Any]] = [{"role": "user", "content": [text("What is it?"), image(URL)]}]
    words = 'Thought: x\nAction: look_up\nAction Input: {"word": "cat"}'
    for takes_tools, step in ((True, calls("look_up", word="cat")), (False, words)):
        llm = LLM("openai/m", function_calling=takes_tools)
        agent = Agent(role="r", goal="g", backstory="b", llm=llm, tools=[look_up])
        async with scripted(step, "Final Answer: done") as model:
            await agent.akickoff(turn)
        seen = [[part.wire for m in request.messages for part in m.parts] for request in model.requests]
        assert [image(URL) in parts for parts in seen] == [True, True]


async def test_the_offline_model_takes_parts() -> None:
    """Its answer differs with what is on them, and names them."""
    async with Gateway(GatewayOptions(model="offline")):
        replies = [
            await LLM_M.acall([{"role": "user", "content": [text("See"), ImageFile(source=png(size))]}])
            for size in (1, 2, 1)
        ]
    assert replies[0] == replies[2] != replies[1]
    assert replies[0].endswith(f"no model was called] See [file: content, image/png, {len(png(1))} bytes]")


def test_messages_without_parts_are_known_as_ever() -> None:
    """By the identities that are in the journals of earlier versions."""
    plain = (Message("system", "Be brief."), Message("user", "Hi"))
    turns = (
        *plain,
        Message("assistant", "", (ToolCall("c1", "add", "{}"),), carried='{"reasoning":"x"}'),
        Message("tool", "2", tool_call_id="c1"),
    )
    found = [Identities().of(ChatRequest(ENDPOINT, messages)).hex() for messages in (plain, turns)]
    assert found == ["c385a449243528f26ef21e23e8375fb2", "735de8021d6e4ad225fa15e86d10d68f"]


@given(st.lists(st.lists(st.sampled_from(["a", "b", URL, data_uri(png())]), min_size=1, max_size=3), max_size=3))
def test_equal_parts_are_one_request_and_others_another(contents: list[list[str]]) -> None:
    """An identity is of what is sent, part by part and turn by turn."""

    def asked(turns: list[list[str]]) -> ChatRequest:
        parts = [[Part.of(image(one), "x") if ":" in one else Part.of_text(one) for one in turn] for turn in turns]
        return ChatRequest(ENDPOINT, tuple(Message("user", **in_parts(turn)) for turn in parts))

    identity = Identities().of
    assert identity(asked(contents)) == identity(asked(json.loads(json.dumps(contents))))
    for changed in ([*contents, ["a"]], [[*turn, "c"] for turn in contents] or [["c"]], [*contents[1:], ["d"]]):
        assert identity(asked(changed)) != identity(asked(contents))


def test_a_budget_counts_an_image_by_its_kind_and_a_text_by_its_length() -> None:
    """A megabyte of base64 is no megabyte of tokens."""

    def bound(*parts: Part, bytes_per_token: int = 1) -> int:
        message = Message("user", **in_parts(parts))
        return fewest_tokens(ChatRequest(ENDPOINT, (message,)), bytes_per_token)

    large = Part.of(image(data_uri(bytes(1_000_000))), "x")
    empty = bound()
    assert [bound(large) - empty, bound(large, Part.of(image(URL), "y")) - empty] == [48_169, 2 * 48_169]
    assert bound(Part.of({"type": "file", "file": {"file_data": "x" * 9_000_000}}, "x")) - empty == 300_000
    assert bound(Part.of_text("ä" * 5)) - empty == 10
    assert bound(large, bytes_per_token=4) - bound(bytes_per_token=4) == 1_600


@pytest.mark.parametrize("role", ["system", "developer", "user"])
async def test_a_tag_that_any_role_asks_for_is_part_of_the_answer(role: str) -> None:
    """Where nobody asks for it, it is reasoning."""
    turns = [{"role": role, "content": "Think in <think> tags."}, {"role": "user", "content": "Hi"}]
    async with scripted("<think>a</think>b", "<think>a</think>b"):
        assert [await LLM_M.acall(turns), await LLM_M.acall("Hi")] == ["<think>a</think>b", "b"]
