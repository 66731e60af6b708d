"""How an agent gets to its answer: one call, or turns with tools, then validation against a schema.

perform → _perform_with_retries → _perform_once → _ask_once                          most rows
                                                → answer_with_tools → _validated     with tools and a schema
"""

from crewrun.aio.time_limit import time_limit
from crewrun.crew.steps import AgentFinish
from crewrun.crew.tool_loop import answer_with_tools
from crewrun.crew.work import Answer, Conversation, Work, non_empty
from crewrun.errors import OutputInvalid, TaskTimedOut, ToolFailed
from crewrun.hooks.dispatch import has_hooks
from crewrun.llm.schema import NotValid, OutputSchema, Structured, repair_prompt
from crewrun.messages import Message


async def perform(work: Work) -> Answer:
    """Perform `work` and return the answer.

    Raises CallError, ToolFailed, TaskTimedOut, and OutputInvalid, with the raw reply, if the reply does not validate.
    """
    if work.max_duration_s is None:
        return await (_perform_with_retries(work) if work.max_retries else _perform_once(work))
    with time_limit(work.max_duration_s):
        return await _perform_with_retries(work)
    raise TaskTimedOut(
        f"agent {work.agent} took longer than {work.max_duration_s:g} s for one task (max_execution_time)"
    )


async def _perform_with_retries(work: Work) -> Answer:
    """Start over after an empty reply or a failed tool, at most `max_retries` times."""
    for _ in range(work.max_retries):
        try:
            return await _perform_once(work)
        except OutputInvalid as invalid:
            if invalid.raw is not None:  # the model has been asked to repair it already
                raise
        except ToolFailed:
            pass
    return await _perform_once(work)


async def _perform_once(work: Work) -> Answer:
    is_plain = not (work.toolbox.specs or work.schema or work.on_step or work.cut_at or work.prompt.context)
    if is_plain and not has_hooks():
        return await _ask_once(work)
    talk = Conversation(work)
    if work.toolbox.specs:
        text = await answer_with_tools(talk)
    else:
        text = non_empty((await talk.ask(schema=work.schema)).text)
    if work.cut_at:
        text = text.partition(work.cut_at)[0].rstrip()
    structured = None
    if work.schema is not None:
        text, structured = await _validated(talk, text, work.schema)
    if work.on_step:
        await talk.report(AgentFinish("", text, text))
    return Answer(text, (*talk.messages, Message("assistant", text)), structured)


async def _ask_once(work: Work) -> Answer:
    """A single call. Most rows need no more, and are spared the cost of a Conversation."""
    messages = work.prompt.messages()
    completion = await work.gateway.complete(work.llm, messages, work.row_context, windows=work.windows)
    text = non_empty(completion.text)
    return Answer(text, (*messages, Message("assistant", text)))


async def _validated(talk: Conversation, text: str, schema: OutputSchema) -> tuple[str, Structured]:
    """`text` and the value in it. If it does not validate, the model repairs it once; then OutputInvalid."""
    try:
        return text, schema.read(text)
    except NotValid as invalid:
        talk.turns += [Message("assistant", text), Message("user", repair_prompt(str(invalid), schema.text))]
    repaired = talk.answer(await talk.ask(schema=schema), "the model asks for a tool instead of mending its answer")
    try:
        return repaired, schema.read(repaired)
    except NotValid as invalid:
        error = OutputInvalid(f"the answer does not validate, nor did its repair: {invalid}")
        error.raw = repaired
        raise error from None
