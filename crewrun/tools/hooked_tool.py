"""A call of a tool with hooks around it. Arguments that hooks change are part of the call's identity."""

import json
from typing import Any

from crewrun.errors import HookAborted
from crewrun.hooks.dispatch import InterceptionPoint, hooks_at, run_hooks
from crewrun.hooks.scope import Site, current_site
from crewrun.hooks.tool_hooks import ToolCallHookContext, settle_after, settle_before
from crewrun.tools.base import BaseTool


class HookedTool:
    """One call of `tool`, which the model knows as `name`, with `values`, which hooks may change in place."""

    def __init__(self, tool: BaseTool, name: str, values: dict[str, Any]) -> None:
        self._before = _canonical(values)
        self._context = ToolCallHookContext(name, values, tool, *(current_site.get() or Site()))

    async def before(self) -> str | None:
        """Run the hooks before the call. If one refuses it, the text for the model, else None."""
        context = self._context
        try:
            await run_hooks(hooks_at(InterceptionPoint.PRE_TOOL_CALL), context, settle_before)
        except HookAborted as aborted:
            return f"The call of {context.tool_name} was refused: {aborted.reason}"
        return None

    @property
    def values(self) -> dict[str, Any]:
        """The arguments as hooks left them."""
        return self._context.tool_input

    def arguments(self, model_arguments: str) -> str:
        """The arguments for the call's identity: as the model wrote them, unless a hook changed them."""
        now = _canonical(self._context.tool_input)
        return model_arguments if now == self._before else now

    async def after(self, text: str) -> str:
        """Run the hooks after the call and return the result for the model."""
        context = self._context
        context.tool_result = context.raw_tool_result = text
        await run_hooks(hooks_at(InterceptionPoint.POST_TOOL_CALL), context, settle_after)
        return context.tool_result or ""


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
