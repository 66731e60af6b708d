"""A model's call with the hooks around it. Messages are sent as the hooks change them, which is part of their identity.

The journal has the model's own reply; hooks after the call see that again in a replay.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from crewrun.hooks.dispatch import InterceptionPoint, hooks_at, run_hooks
from crewrun.hooks.llm_hooks import LLMCallHookContext, settle_after, settle_before
from crewrun.hooks.scope import Site
from crewrun.limits.windows import RequestWindow
from crewrun.llm.conversation import as_messages
from crewrun.llm.gateway import Gateway
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.transports.chat_json import message_on_wire
from crewrun.messages import Completion, Message, ReplySchema, ToolSpec
from crewrun.row_context import RowContext

Messages = tuple[Message, ...]


async def complete_hooked(
    gateway: Gateway,
    llm: ModelFields | None,
    messages: Messages,
    row_context: RowContext,
    *,
    site: Site,
    iterations: int = 0,
    tools: tuple[ToolSpec, ...] = (),
    schema: ReplySchema | None = None,
    windows: Sequence[RequestWindow] = (),
) -> tuple[Completion, Messages]:
    """`gateway.complete` between hooks: the answer, and the messages as the hooks left them.

    Hooks after the call see texts only, as with CrewAI, and no turns that ask for tools. Raises what the gateway
    raises, LLMCallBlockedError and HookAborted, and what a hook raises.
    """
    editor = _Editor(messages)
    context = LLMCallHookContext(None, None, editor.shown, llm, *site, iterations=iterations)
    await run_hooks(hooks_at(InterceptionPoint.PRE_MODEL_CALL), context, settle_before)
    messages = editor.read(context)
    completion = await gateway.complete(llm, messages, row_context, tools=tools, schema=schema, windows=windows)
    after = hooks_at(InterceptionPoint.POST_MODEL_CALL)
    if completion.tool_calls or not after:
        return completion, messages
    context.response = completion.text
    await run_hooks(after, context, settle_after)
    if context.response != completion.text:
        completion = replace(completion, text=str(context.response or ""))
    return completion, editor.read(context)


class _Editor:
    """Messages as hooks see them, and back: untouched ones stay the same message."""

    def __init__(self, messages: Messages) -> None:
        self.shown = [message_on_wire(message) for message in messages]
        self._originals = {
            id(shown): (shown, deepcopy(shown), message) for shown, message in zip(self.shown, messages, strict=True)
        }
        self._messages = messages

    def read(self, context: LLMCallHookContext) -> Messages:
        """The messages that a context has now. Raises TypeError for something else."""
        edited = context.messages
        if not isinstance(edited, list):
            raise TypeError(f"a hook left {type(edited).__name__} as context.messages, which is a list of mappings")
        if not edited:
            raise TypeError("a hook left no messages; return False to keep the call from being made")
        read = tuple(self._read(one, position) for position, one in enumerate(edited))
        return self._messages if read == self._messages else read

    def _read(self, shown: Any, position: int) -> Message:
        original = self._originals.get(id(shown))
        if original is not None and original[0] is shown and original[1] == shown:
            return original[2]
        try:
            return as_messages([shown], "a hook's context")[0]
        except TypeError as wrong:
            why = str(wrong).replace("messages[0]", f"context.messages[{position}]")
            raise TypeError(f"after the hooks {why}") from None
