"""Turns with tools until a model has its answer. It calls tools natively, or in words if it does not support them."""

from functools import partial

from crewrun.aio.concurrency import gather
from crewrun.crew.prompts import FINAL_ANSWER_NOW
from crewrun.crew.steps import AgentAction
from crewrun.crew.text_protocol import Actions, turns
from crewrun.crew.work import Conversation, non_empty
from crewrun.errors import ToolsRefused
from crewrun.messages import Completion, Message
from crewrun.tools.tool_call import ToolResult


async def answer_with_tools(talk: Conversation) -> str:
    """The answer, after at most `max_iter` turns with tools and a last one without.

    Raises what `Conversation.ask` does, and ToolFailed.
    """
    work = talk.work
    if not work.gateway.takes_tools(work.llm):
        talk.use_words()
    for _ in range(work.max_iter):
        try:
            completion = await talk.ask(tools=() if talk.in_words else work.toolbox.specs)
        except ToolsRefused:
            if talk.in_words or talk.turns:
                raise
            talk.use_words()
            completion = await talk.ask()
        if completion.tool_calls:
            answer = await _use(talk, completion)
        elif isinstance(reply := talk.read(completion.text), Actions):
            answer = await _use_in_words(talk, reply)
        else:
            return non_empty(reply)
        if answer is not None:
            return answer
    return await _forced(talk)


async def _use(talk: Conversation, completion: Completion) -> str | None:
    """Run the tools of one turn concurrently. If a result is the agent's answer, its text, else None."""
    calls = completion.tool_calls
    results = await gather([partial(_run, talk, call.name, call.arguments) for call in calls])
    talk.turns.append(Message("assistant", completion.text, calls, carried=completion.carried))
    for call, result in zip(calls, results, strict=True):
        talk.turns.append(Message("tool", result.text, tool_call_id=call.id))
        if talk.work.on_step:
            await talk.report(AgentAction(completion.text, call.name, call.arguments, completion.text, result.text))
    pictures = [picture for result in results for picture in result.pictures]
    if pictures:
        talk.show(pictures)
    return next((result.text for result in results if result.is_answer), None)


async def _use_in_words(talk: Conversation, actions: Actions) -> str | None:
    """As `_use`, for calls in a reply's text. Results go back as text too, even if the model has native tools: a server
    that returns calls as text may not accept them as calls, and some of the calls are malformed.
    """
    calls = actions.calls
    results = await gather([partial(_run, talk, call.tool, call.arguments) for call in calls])
    talk.turns += turns(actions, [result.text for result in results])
    if talk.work.on_step:
        for call, result in zip(calls, results, strict=True):
            await talk.report(AgentAction(actions.thought, call.tool, call.arguments, actions.text, result.text))
    return next((result.text for result in results if result.is_answer), None)


async def _run(talk: Conversation, tool: str, arguments: str) -> ToolResult:
    work = talk.work
    replay_only = work.gateway.options.replay_only
    return await work.toolbox.use(tool, arguments, talk.used, work.row_context, replay_only=replay_only)


async def _forced(talk: Conversation) -> str:
    """Get an answer from an agent that has used up its turns, by one last call without tools."""
    talk.turns.append(Message("user", FINAL_ANSWER_NOW))
    fault = f"the model still asks for tools after {talk.work.max_iter} turns (max_iter)"
    return talk.answer(await talk.ask(), fault)
