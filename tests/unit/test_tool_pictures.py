"""Pictures that tools return: to models that take them, out for those that do not, and as they were on resuming."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewrun import LLM, Agent, Crew, Task
from crewrun.errors import BadRequest
from crewrun.messages import ChatRequest, Message
from crewrun.testing import calls, scripted
from crewrun.tools import tool
from crewrun.tools.pictures import TextWithPictures, as_recorded, of_record, without_pictures

pytestmark = pytest.mark.anyio

PICTURE = "data:image/png;base64,iVBORw0KGgo="


@tool
def draw(what: str) -> str:
    """Draw something."""
    return TextWithPictures.of(f"a drawing of {what}", [PICTURE])


def crew() -> Crew:
    agent = Agent(role="Painter", goal="Paint", backstory="Paints.", tools=[draw], llm=LLM(model="gpt-4o-mini"))
    return Crew(agents=[agent], tasks=[Task(description="Paint it", expected_output="A text", agent=agent)])


def roles(messages: Sequence[Message]) -> list[str]:
    return [message.role for message in messages]


async def test_they_follow_the_tools_turns_in_a_turn_of_the_user() -> None:
    """Providers take no pictures in a tool's turn."""
    async with scripted(calls(("draw", {"what": "frogs"}), ("draw", {"what": "toads"})), "done") as model:
        assert (await crew().akickoff()).raw == "done"
    messages = model.requests[1].messages
    assert roles(messages) == ["system", "user", "assistant", "tool", "tool", "user"]
    assert [part.wire.get("image_url", {}).get("url") for part in messages[-1].parts] == [None, PICTURE, PICTURE]
    assert messages[3].content == "a drawing of frogs"


async def test_a_model_that_refuses_them_is_asked_without_and_gets_none_any_more() -> None:
    """Its answer to the request without them is the evidence."""
    drawing, refusal = calls("draw", what="frogs"), BadRequest("this model takes no images", http_status=400)
    async with scripted(drawing, refusal, drawing, "done") as model:
        assert (await crew().akickoff()).raw == "done"
    assert [_pictures(request) for request in model.requests] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "why",
    [
        "messages.4.content.1.image.source.base64: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes",
        "Could not process image",
        "You uploaded an unsupported image. Please make sure your image is below 20 MB in size",
        "Image dimensions are too small",
    ],
)
async def test_a_picture_that_is_refused_does_not_keep_others_from_the_model(why: str) -> None:
    """Its task goes on without; a later one has its own."""
    drawing, refusal = calls("draw", what="frogs"), BadRequest(why, http_status=400)
    async with scripted(drawing, refusal, drawing, "done") as model:
        assert (await crew().akickoff()).raw == "done"
    assert [_pictures(request) for request in model.requests] == [0, 1, 0, 1]


async def test_pictures_beyond_16_mib_are_left_out_in_words() -> None:
    """They would be sent, and paid, with each further turn."""

    @tool
    def scan(what: str) -> str:
        """Scan something."""
        return TextWithPictures.of("scans", [PICTURE, PICTURE + "A" * (16 << 20), PICTURE])

    worker = Agent(role="Painter", goal="Paint", backstory="Paints.", tools=[scan], llm=LLM(model="gpt-4o-mini"))
    task = Task(description="Scan it", expected_output="A text", agent=worker)
    async with scripted(calls("scan", what="frogs"), "done") as model:
        await Crew(agents=[worker], tasks=[task]).akickoff()
    last = model.requests[1].messages
    assert (_pictures(model.requests[1]), last[3].content) == (1, "scans\n[… 2 pictures left out: more than 16 MiB]")


async def test_a_refusal_for_another_reason_stays_one() -> None:
    """Without the pictures it is the same."""
    refusal = BadRequest("your prompt is wrong", http_status=400)
    async with scripted(calls("draw", what="frogs"), refusal, refusal):
        with pytest.raises(BadRequest, match="your prompt is wrong"):
            await crew().akickoff()


def test_the_journal_has_them_with_the_text() -> None:
    """And people are shown how many there are."""
    recorded = as_recorded("two frogs", (PICTURE, PICTURE))
    assert of_record(recorded) == ("two frogs", (PICTURE, PICTURE))
    assert without_pictures(recorded) == "two frogs\n[with 2 pictures]"
    assert of_record("a text of before") == ("a text of before", ())


@given(st.text(), st.text(), st.lists(st.text(), max_size=2))
def test_any_text_is_read_as_it_was_recorded(before: str, after: str, pictures: list[str]) -> None:
    """Also one of a page that pretends to have pictures."""
    text = f"{before}\x1epictures:{after}"
    assert of_record(as_recorded(text, tuple(pictures))) == (text, tuple(pictures))
    assert of_record(as_recorded(before, tuple(pictures))) == (before, tuple(pictures))


def _pictures(request: ChatRequest) -> int:
    return sum(part.text is None for message in request.messages for part in message.parts)
