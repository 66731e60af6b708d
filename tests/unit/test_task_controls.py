"""What users put around their tasks: guardrails, conditions, callbacks, limits, files and the form of prompts."""

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crewrun import Agent, ConditionalTask, Crew, CrewOutput, DefinitionError, GuardrailFailed, Task, TaskOutput
from crewrun.crew.llm_guardrail import LLMGuardrail
from crewrun.crew.output_files import writing_below
from crewrun.crew.steps import AgentAction, AgentFinish
from crewrun.errors import InputInvalid, OutputInvalid, TaskTimedOut
from crewrun.limits.windows import RequestWindow, admit
from crewrun.messages import ChatRequest, Completion, ToolCall, Usage
from crewrun.testing import Step, scripted
from crewrun.tools import tool

pytestmark = pytest.mark.anyio


def agent(**fields: Any) -> Agent:
    return Agent(**{"role": "Writer", "goal": "g", "backstory": "b", "llm": "gpt-4o-mini", **fields})


def crew_of(*tasks: Task, **fields: Any) -> Crew:
    return Crew(agents=[], tasks=list(tasks), **fields)


def task(doer: Agent | None = None, **fields: Any) -> Task:
    return Task(**{"description": "Write", "expected_output": "A text", "agent": doer or agent(), **fields})


async def run(crew: Crew, *script: Step, inputs: dict[str, Any] | None = None) -> tuple[CrewOutput, list[ChatRequest]]:
    async with scripted(*script) as model:
        output = await crew.akickoff(inputs)
    return output, model.requests


# --- guardrails -------------------------------------------------------------------------------------------------------


def long_enough(output: TaskOutput) -> tuple[bool, Any]:
    """At least four letters."""
    return (True, output.raw.upper()) if len(output.raw) >= 4 else (False, "too short")


async def test_an_answer_that_fails_its_guardrail_is_asked_for_again_with_the_fault() -> None:
    """And what the guardrail gives back takes the answer's place."""
    output, requests = await run(crew_of(task(guardrail=long_enough)), "no", "longer")
    assert output.raw == "LONGER"
    assert (
        requests[1]
        .messages[-1]
        .content.endswith(
            "An earlier answer of yours was not accepted: too short\nThat answer was:\nno\n\nDo the task again, better."
        )
    )


async def test_guardrails_are_held_in_order_and_may_be_async() -> None:
    """Each sees what the one before it made of the answer."""

    async def shouted(output: TaskOutput) -> tuple[bool, Any]:
        return output.raw.isupper(), output

    output, requests = await run(crew_of(task(guardrails=[long_enough, shouted])), "longer")
    assert (output.raw, len(requests)) == ("LONGER", 1)


async def test_a_new_answer_passes_all_guardrails_from_the_first() -> None:
    """One that only the last guardrail asked for again could be what the first would refuse."""
    seen: list[str] = []

    def short(output: TaskOutput) -> tuple[bool, Any]:
        return len(output.raw) <= 5, output.raw if len(output.raw) <= 5 else "too long"

    def second_time(output: TaskOutput) -> tuple[bool, Any]:
        seen.append(output.raw)
        return len(seen) > 1, output.raw

    output, _ = await run(crew_of(task(guardrails=[short, second_time])), "short", "much too long", "brief")
    assert (output.raw, seen) == ("brief", ["short", "brief"])


async def test_an_output_that_a_guardrail_gives_back_is_validated_again() -> None:
    """Its text counts, whatever else it has."""

    class Number(BaseModel):
        n: int

    def spoil(output: TaskOutput) -> tuple[bool, Any]:
        return True, TaskOutput(raw="garbage", description="d", agent="a")

    declared: dict[str, Any] = {"output_pydantic": Number, "guardrail": spoil}
    with pytest.raises(OutputInvalid, match="what the guardrail made of the answer does not validate"):
        await run(crew_of(task(**declared)), '{"n": 1}')


async def test_after_guardrail_max_retries_the_task_fails() -> None:
    """The message has the last fault."""
    with pytest.raises(
        GuardrailFailed, match="no answer passed the guardrail in 2 tries; the last one: too short"
    ) as raised:
        await run(crew_of(task(guardrail=long_enough, guardrail_max_retries=1)), "a", "b")
    assert raised.value.category == "guardrail"


async def test_a_sentence_is_judged_by_the_agent_s_model() -> None:
    """What it finds wrong goes back with the task."""
    bad, good = ('{"valid": false, "feedback": "no number in it"}', '{"valid": true, "feedback": ""}')
    output, requests = await run(crew_of(task(guardrail="It names a number")), "none", bad, "seven", good)
    assert output.raw == "seven"
    assert "Judge the answer below by this rule: It names a number" in requests[1].messages[-1].content
    assert "not accepted: no number in it" in requests[2].messages[-1].content


async def test_a_guardrail_may_have_a_model_of_its_own() -> None:
    """It judges as the agent's does for a sentence."""
    guardrail = LLMGuardrail(description="It names a number", llm="openai/judge")
    bad, good = ('{"valid": false, "feedback": ""}', '{"valid": true, "feedback": ""}')
    output, requests = await run(crew_of(task(guardrail=guardrail)), "none", bad, "seven", good)
    assert output.raw == "seven"
    assert [request.endpoint.model for request in requests] == ["gpt-4o-mini", "judge"] * 2
    assert "Judge the answer below by this rule: It names a number" in requests[1].messages[-1].content
    assert "The task was: Write\n\nThe answer:\nnone" in requests[1].messages[-1].content
    assert "not accepted: it does not keep to: It names a number" in requests[2].messages[-1].content


def raises(output: TaskOutput) -> tuple[bool, Any]:
    """Raise."""
    raise KeyError("x")


@pytest.mark.parametrize(
    ("guardrail", "message"),
    [
        (raises, "guardrail 'raises' of task 'task_1' raised KeyError: 'x'"),
        (
            lambda output: True,
            "guardrail '<lambda>' of task 'task_1' returned True; a guardrail returns (True, answer)",
        ),
        (lambda output: ("yes", 1), "returned ('yes', 1); a guardrail returns"),
        (lambda output: None, "returned None; a guardrail returns"),
    ],
    ids=["raises", "bool", "pair-of-others", "none"],
)
async def test_a_guardrail_that_does_not_work_fails_its_row(guardrail: Any, message: str) -> None:
    """At once: another answer would not help."""
    with pytest.raises(GuardrailFailed) as raised:
        await run(crew_of(task(guardrail=guardrail)), "text")
    assert message in str(raised.value)


async def test_what_a_guardrail_makes_of_an_answer_must_validate_too() -> None:
    """The schema holds for the result, not only for the model."""

    class Number(BaseModel):
        n: int

    declared: dict[str, Any] = {
        "output_pydantic": Number,
        "guardrail": lambda output: (True, output.raw.replace("1", "one")),
    }
    with pytest.raises(OutputInvalid, match="what the guardrail made of the answer does not validate"):
        await run(crew_of(task(**declared)), '{"n": 1}')


@pytest.mark.parametrize("guardrail", [42, "  "], ids=["number", "blank"])
async def test_a_guardrail_is_a_function_or_a_sentence(guardrail: Any) -> None:
    """Nothing else, from the start."""
    with pytest.raises(DefinitionError, match="a guardrail is a function or a sentence, not"):
        task(guardrail=guardrail)


# --- conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("due", "answers"), [(True, ["a", "b", "c"]), (False, ["a", "", "c"])], ids=["due", "not-due"])
async def test_a_conditional_task_runs_only_when_its_condition_holds(due: bool, answers: list[str]) -> None:
    """It is asked with the output before; a skipped task's output is empty and no context for the next."""
    asked: list[str] = []

    def condition(output: TaskOutput) -> bool:
        asked.append(output.raw)
        return due

    doer = agent()
    maybe = ConditionalTask(description="Maybe", expected_output="e", agent=doer, condition=condition)
    output, requests = await run(crew_of(task(doer), maybe, task(doer)), *[a for a in answers if a])
    assert ([o.raw for o in output.tasks_output], asked) == (answers, ["a"])
    context = requests[-1].messages[-1].content.partition("found earlier:\n")[2]
    assert context == ("a\n\n----------\n\nb" if due else "a")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (lambda maybe: [maybe()], "is conditional, so it needs a task before it"),
        (lambda maybe: [task(), maybe(async_execution=True)], "is conditional, so it cannot be async"),
    ],
    ids=["first", "async"],
)
async def test_a_conditional_task_cannot_be_first_or_async(tasks: Any, message: str) -> None:
    """There is no output before it then."""

    def maybe(**fields: Any) -> ConditionalTask:
        return ConditionalTask(description="d", expected_output="e", agent=agent(), condition=bool, **fields)

    with pytest.raises(DefinitionError, match=message):
        crew_of(*tasks(maybe))


# --- callbacks --------------------------------------------------------------------------------------------------------


async def test_callbacks_see_inputs_tasks_steps_and_the_output() -> None:
    """Sync ones run in threads, async ones are awaited; None leaves a value as it was."""
    seen: list[Any] = []
    loop_thread = threading.get_ident()

    def before(inputs: dict[str, Any]) -> dict[str, Any]:
        seen.append(("before", threading.get_ident() == loop_thread))
        return {**inputs, "topic": "ants"}

    async def before_too(inputs: dict[str, Any]) -> None:
        seen.append(inputs["topic"])

    async def on_task(output: TaskOutput) -> None:
        seen.append(("task", output.raw))

    def after(output: CrewOutput) -> CrewOutput:
        return output.model_copy(update={"raw": output.raw + "!"})

    crew = crew_of(
        task(description="On {topic}", callback=lambda output: seen.append(("own", output.raw))),
        before_kickoff_callbacks=[before, before_too],
        after_kickoff_callbacks=[after, lambda output: None],
        task_callback=on_task,
        step_callback=seen.append,
    )
    output, requests = await run(crew, "text", inputs={"topic": "bees"})
    assert "Your task: On ants" in requests[0].messages[-1].content
    assert output.raw == "text!"
    assert seen == [("before", False), "ants", AgentFinish("", "text", "text"), ("own", "text"), ("task", "text")]


async def test_a_step_callback_sees_every_tool_that_was_used() -> None:
    """The agent's own after the crew's."""
    steps: list[Any] = []

    @tool
    def add(a: int) -> int:
        """Add one."""
        return a + 1

    turn = Completion("I add", Usage(1, 0, 1), tool_calls=(ToolCall("c", "add", '{"a": 1}'),))
    await run(crew_of(task(agent(tools=[add], step_callback=steps.append))), turn, "2")
    assert steps == [AgentAction("I add", "add", '{"a": 1}', "I add", "2"), AgentFinish("", "2", "2")]


@pytest.mark.parametrize("where", ["callback", "task_callback", "step_callback", "before", "after"])
async def test_an_exception_in_a_callback_fails_the_kickoff_as_itself(where: str) -> None:
    """Not wrapped, not swallowed."""

    def fail(_: Any) -> None:
        raise LookupError(where)

    crew_fields: dict[str, dict[str, Any]] = {
        "task_callback": {"task_callback": fail},
        "step_callback": {"step_callback": fail},
        "before": {"before_kickoff_callbacks": [fail]},
        "after": {"after_kickoff_callbacks": [fail]},
    }
    crew = crew_of(task(callback=fail if where == "callback" else None), **crew_fields.get(where, {}))
    with pytest.raises(LookupError, match=where):
        await run(crew, *([] if where == "before" else ["text"]))


# --- limits -----------------------------------------------------------------------------------------------------------


def on_a_virtual_clock(main: Any) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("owner", ["crew", "agent"])
def test_max_rpm_holds_over_all_kickoffs_together(owner: str) -> None:
    """In no 60 seconds are there more requests than that."""
    sent: list[float] = []

    async def note(_: ChatRequest) -> str:
        sent.append(trio.current_time())
        return "ok"

    async def main() -> None:
        limit = {"max_rpm": 10}
        crew = crew_of(task(agent(**(limit if owner == "agent" else {}))), **(limit if owner == "crew" else {}))
        async with scripted(note, forever=True):
            await crew.akickoff_for_each([{}] * 35)

    on_a_virtual_clock(main)
    busiest = max(sum(1 for other in sent if at <= other < at + 60) for at in sent)
    assert (len(sent), busiest) == (35, 10)
    assert sent[-1] - sent[0] == pytest.approx(180, abs=2)


def test_limits_of_crew_and_agent_hold_together() -> None:
    """A request counts when it is sent, not when the first of its limits let it through."""
    sent: list[float] = []

    async def note(_: ChatRequest) -> str:
        sent.append(trio.current_time())
        return "ok"

    async def main() -> None:
        slow, quick = agent(max_rpm=1), agent()
        crew = crew_of(task(slow), task(quick), max_rpm=10)
        async with scripted(note, forever=True):
            await crew.akickoff_for_each([{}] * 8)

    on_a_virtual_clock(main)
    assert (len(sent), max(sum(at <= other < at + 60 for other in sent) for at in sent) <= 10) == (16, True)


def test_who_gives_up_waiting_gives_the_place_to_others() -> None:
    """Rows with a time limit below the wait must not use the limit up."""
    admitted: list[float] = []

    async def one(window: RequestWindow) -> None:
        with anyio.move_on_after(90):
            await admit([window], lambda seconds, _: anyio.sleep(seconds))
            admitted.append(trio.current_time())

    async def main() -> None:
        window = RequestWindow(2)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                for _ in range(8):
                    group.start_soon(one, window)
                await anyio.sleep(90)

    on_a_virtual_clock(main)
    busiest = max(sum(at <= other < at + 60 for other in admitted) for at in admitted)
    assert (busiest, len(admitted) >= 26) == (2, True)


def test_an_agent_that_takes_too_long_fails_as_timeout() -> None:
    """`max_execution_time` bounds its work on one task."""

    async def hang(_: ChatRequest) -> str:
        await anyio.sleep_forever()
        return ""

    async def main() -> float:
        began = trio.current_time()
        with pytest.raises(TaskTimedOut, match=r"agent 'Writer' took longer than 7 s for one task") as raised:
            await run(crew_of(task(agent(max_execution_time=7))), hang)
        assert raised.value.category == "timeout"
        return trio.current_time() - began

    assert on_a_virtual_clock(main) == pytest.approx(7)


async def test_an_empty_reply_is_asked_for_again_when_max_retry_limit_says_so() -> None:
    """For what asking again by the gateway did not mend, and what max_tokens left empty."""
    empty = OutputInvalid("the model's reply is empty (it reached max_tokens)", http_status=200)
    with pytest.raises(OutputInvalid):
        await run(crew_of(task()), empty)
    output, _ = await run(crew_of(task(agent(max_retry_limit=2))), empty, empty, "text")
    assert output.raw == "text"


# --- files ------------------------------------------------------------------------------------------------------------


async def test_an_output_file_is_written_where_it_says(tmp_path: Path) -> None:
    """Filled in, its directory made; folded YAML's newline is taken off, and a row's folder holds absolute ones too."""
    with writing_below(tmp_path):
        await run(crew_of(task(output_file="/out/{name}.md\n")), "text", inputs={"name": "a b"})
    assert (tmp_path / "out/a b.md").read_text() == "text"


async def test_a_dot_in_front_makes_no_difference(tmp_path: Path) -> None:
    """`./outputs//x.md`, as many write it."""
    with writing_below(tmp_path):
        await run(crew_of(task(output_file="./out//{name}.md")), "text", inputs={"name": "x"})
    assert (tmp_path / "out/x.md").read_text() == "text"


async def test_a_validated_answer_is_written_as_json(tmp_path: Path) -> None:
    """Not the code fence that it came in."""

    class Number(BaseModel):
        n: int

    with writing_below(tmp_path):
        await run(crew_of(task(output_json=Number, output_file="n.json")), '```json\n{"n": 1}\n```')
    assert json.loads((tmp_path / "n.json").read_text()) == {"n": 1}


@pytest.mark.parametrize("value", ["../../etc", "a/../b", "..", "", ".", "a\\b", "a\0b"])
async def test_a_value_cannot_lead_an_output_file_elsewhere(value: str, tmp_path: Path) -> None:
    """Found before anything is sent."""
    with (
        writing_below(tmp_path),
        pytest.raises(InputInvalid, match=r"input 'name' is .* cannot be part of a file's name"),
    ):
        await run(crew_of(task(), task(output_file="{name}")), inputs={"name": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "file"),
    [("a/b", "a/b.md"), ("https://x.org/a", "https:/x.org/a.md"), ("/a", "a.md"), ("a/./b/", "a/b/.md")],
)
async def test_a_value_with_slashes_names_directories_in_the_folder(value: str, file: str, tmp_path: Path) -> None:
    """They are made as they are needed."""
    with writing_below(tmp_path):
        await run(crew_of(task(output_file="out/{name}.md")), "text", inputs={"name": value})
    assert (tmp_path / "out" / file).read_text() == "text"


@pytest.mark.parametrize(("value", "why"), [("/a", "leaves its folder"), ("a/", "leaves its folder")])
async def test_a_value_cannot_make_an_output_file_absolute(value: str, why: str, tmp_path: Path) -> None:
    """Nor a directory."""
    with writing_below(tmp_path), pytest.raises(InputInvalid, match=why):
        await run(crew_of(task(output_file="{name}")), inputs={"name": value})


async def test_a_value_with_a_slash_does_not_go_through_a_link(tmp_path: Path) -> None:
    """One that leads out of the folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").symlink_to(tmp_path)
    with writing_below(tmp_path / "in"), pytest.raises(InputInvalid, match="through a link"):
        await run(crew_of(task(output_file="{name}")), "text", inputs={"name": "a/b"})
    (tmp_path / "in" / "file").touch()
    with writing_below(tmp_path / "in"), pytest.raises(InputInvalid, match="a part of its path is a file"):
        await run(crew_of(task(output_file="{name}")), "text", inputs={"name": "file/b"})


async def test_an_absolute_output_file_is_one_in_a_single_kickoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With placeholders, from a config, or where its top directory is there; else the slash goes, as in CrewAI."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "link.md").symlink_to(tmp_path / "linked.md")
    files = ["a.md", "deep/{name}.md", "link.md"]
    for file in files:
        await run(crew_of(task(output_file=f"{tmp_path}/{file}")), file, inputs={"name": "x/y"})
    await run(crew_of(task(output_file="/no-such-top/b.md")), "b")
    written = ("a.md", "deep/x/y.md", "linked.md", "here/no-such-top/b.md")
    assert [(tmp_path / file).read_text() for file in written] == [*files, "b"]
    assert task(output_file="/b.md").output_file == "b.md"
    assert task(config={"output_file": "/no-such-top/b.md"}).output_file == "/no-such-top/b.md"
    (tmp_path / "deep" / "out").symlink_to(tmp_path / "here")
    with pytest.raises(InputInvalid, match="through a link"):
        await run(crew_of(task(output_file=f"{tmp_path}/deep/{{name}}.md")), "x", inputs={"name": "out/z"})
    with pytest.raises(InputInvalid, match="hidden"):
        await run(crew_of(task(output_file=f"{tmp_path}/deep/{{name}}")), inputs={"name": ".ssh/z"})


@pytest.mark.parametrize("template", ["../x", "a/../../x", "~/x", "a/", "/", "  "])
async def test_an_output_file_that_leaves_its_folder_is_a_definition_error(template: str) -> None:
    """Whatever is filled in."""
    with pytest.raises(DefinitionError, match="output_file"):
        task(output_file=template)


@given(st.text(max_size=20))
def test_no_value_writes_outside_the_folder(value: str) -> None:
    """Every value either is refused or gives a path below the folder."""
    from crewrun.crew.output_files import render_path

    try:
        path = render_path("out/{name}.md", {"name": value}, "tasks.t.output_file")
    except InputInvalid:
        return
    assert Path("/folder", path).resolve().is_relative_to("/folder/out")


async def test_a_directory_that_may_not_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    """`create_directory: false`."""
    with writing_below(tmp_path), pytest.raises(DefinitionError, match=r"the directory '.*out' does not exist"):
        await run(crew_of(task(output_file="out/x", create_directory=False)), "text")


async def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Someone may have put one there."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    with writing_below(tmp_path / "in"), pytest.raises(InputInvalid, match="through a link"):
        await run(crew_of(task(output_file="out/x")), "text")
    assert not (tmp_path / "x").exists()


async def test_human_input_is_refused() -> None:
    """Nobody answers in a batch."""
    with pytest.raises(DefinitionError, match="has human_input, and crewrun runs where nobody answers"):
        crew_of(task(human_input=True))


# --- the form of prompts ----------------------------------------------------------------------------------------------


async def test_markdown_asks_for_it() -> None:
    """In the task's prompt."""
    _, requests = await run(crew_of(task(markdown=True)), "text")
    assert "Format the answer as Markdown" in requests[0].messages[-1].content


async def test_inject_date_says_the_date_in_the_agent_s_format() -> None:
    """At the end of the system turn: what differs from day to day comes last."""
    _, requests = await run(crew_of(task(agent(inject_date=True, date_format="the day %%"))), "text")
    assert requests[0].messages[0].content.endswith("\nToday is the day %.")


async def test_without_a_system_prompt_all_is_one_user_turn() -> None:
    """For models that know no system role."""
    _, requests = await run(crew_of(task(agent(use_system_prompt=False))), "text")
    (only,) = requests[0].messages
    assert (only.role, only.content.startswith("You are Writer."), "Your task: Write" in only.content) == (
        "user",
        True,
        True,
    )


async def test_an_agent_s_own_templates_make_the_prompt() -> None:
    """CrewAI's three, which go together; the answer ends where the response template does."""
    doer = agent(
        system_template="<s>{{ .System }}</s>",
        prompt_template="<u>{{ .Prompt }}</u>",
        response_template="<a>{{ .Response }}</a>",
    )
    output, requests = await run(crew_of(task(doer)), "text</a> and more")
    (only,) = requests[0].messages
    assert only.content.startswith("<s>You are Writer. b\nYour personal goal: g</s><u>Your task: Write")
    assert (only.content.endswith("around it.</u><a>"), output.raw) == (True, "text")


# --- CrewAI's other arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({"memory": True}, "agent: memory has no effect: crewrun has no memory, so that no row knows of another one"),
        ({"max_itr": 3}, "agent: no field 'max_itr' (did you mean 'max_iter'?); it has no effect"),
    ],
    ids=["not-supported", "unknown"],
)
async def test_what_has_no_effect_is_warned_about(fields: dict[str, Any], warned: str) -> None:
    """A CrewAI crew runs as it is, and says what it goes without."""
    from crewrun import CrewrunWarning

    with pytest.warns(CrewrunWarning) as warnings:
        agent(**fields)
    assert [str(w.message) for w in warnings] == [warned]


async def test_what_makes_no_difference_is_taken_silently() -> None:
    """`filterwarnings = error` would fail this test."""
    agent(cache=True, memory=False, verbose=True)
    crew_of(task(), cache=True, share_crew=False, output_log_file="x.log", memory=False)


async def test_config_is_merged_below_the_arguments() -> None:
    """`Agent(config=self.agents_config["x"], …)`, as CrewAI's projects do it."""
    made = Agent(config={"role": "From config", "goal": "g", "backstory": "b"}, goal="given")
    assert (made.role, made.goal) == ("From config", "given")
