"""Hooks around calls of models: their argument, and functions that register them without a decorator."""

from typing import Any

from crewrun.errors import LLMCallBlockedError
from crewrun.hooks.dispatch import Hook, InterceptionPoint, clear_hooks, get_hooks, register_hook, unregister_hook
from crewrun.hooks.human_input import refuse_human_input
from crewrun.hooks.scope import Site

_BEFORE, _AFTER = InterceptionPoint.PRE_MODEL_CALL, InterceptionPoint.POST_MODEL_CALL


class LLMCallHookContext:
    """One call of a model. It is not shared with other calls.

    `messages` is a list of mappings with `role` and `content`, to be changed in place: changes are sent, and stay for
    the agent's later calls. `response` is the answer's text after the call, else None. `agent`, `task` and `crew` are
    None if the model is called without them; `iterations` counts the agent's calls from 0.
    """

    def __init__(
        self,
        executor: Any = None,
        response: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        llm: Any = None,
        agent: Any = None,
        task: Any = None,
        crew: Any = None,
        iterations: int = 0,
    ) -> None:
        self.executor = executor
        self.response = response
        self.messages = messages if messages is not None else []
        self.llm = llm
        self.agent, self.task, self.crew = Site(agent, task, crew)
        self.iterations = iterations

    def request_human_input(self, prompt: str, default_message: str = "") -> str:
        """Raise DefinitionError, since a run has nobody to answer."""
        return refuse_human_input(prompt)


def settle_before(context: LLMCallHookContext, result: Any) -> None:
    """Raise LLMCallBlockedError if the hook returned False."""
    if result is False:
        raise LLMCallBlockedError("LLM call blocked by before_llm_call hook")


def settle_after(context: LLMCallHookContext, result: Any) -> None:
    """Replace the response if the hook returned a text."""
    if isinstance(result, str):
        context.response = result


def register_before_llm_call_hook(hook: Hook) -> None:
    """Call `hook` before every call of a model."""
    register_hook(_BEFORE, hook)


def register_after_llm_call_hook(hook: Hook) -> None:
    """Call `hook` after every call of a model."""
    register_hook(_AFTER, hook)


def unregister_before_llm_call_hook(hook: Hook) -> bool:
    """Remove `hook`; False if it is not registered."""
    return unregister_hook(_BEFORE, hook)


def unregister_after_llm_call_hook(hook: Hook) -> bool:
    """Remove `hook`; False if it is not registered."""
    return unregister_hook(_AFTER, hook)


def get_before_llm_call_hooks() -> list[Hook]:
    """The hooks before calls of models."""
    return get_hooks(_BEFORE)


def get_after_llm_call_hooks() -> list[Hook]:
    """The hooks after calls of models."""
    return get_hooks(_AFTER)


def clear_before_llm_call_hooks() -> int:
    """Remove the hooks before calls of models; returns how many there were."""
    return clear_hooks(_BEFORE)


def clear_after_llm_call_hooks() -> int:
    """Remove the hooks after calls of models; returns how many there were."""
    return clear_hooks(_AFTER)


def clear_all_llm_call_hooks() -> tuple[int, int]:
    """Remove both; returns how many there were."""
    return clear_before_llm_call_hooks(), clear_after_llm_call_hooks()
