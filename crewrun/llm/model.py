"""`LLM`: a model as users name it, which their code may also call.

Its fields are in `model_fields`. `direct` makes calls of the user's code, `crew/perform.py` those of agents.
"""

from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from crewrun.aio.notebook import stoppable
from crewrun.llm.custom.calls import routed
from crewrun.llm.custom.model import CallArguments, calling, calls_by_itself, custom_of, described, is_custom
from crewrun.llm.foreign_models import fields_of_model
from crewrun.llm.model_fields import ModelFields
from crewrun.llm.sync import run_sync
from crewrun.messages import Tier
from crewrun.tracebacks import shorten


class LLM(ModelFields):
    """A model and its parameters, see `ModelFields`, with `call` and `acall` for a question without an agent."""

    def __init__(self, model: str | None = None, **fields: Any) -> None:
        super().__init__(**(fields if model is None else {"model": model, **fields}))

    @classmethod
    def _as_fallbacks(cls, value: Any) -> Any:
        return as_fallbacks(value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass may bring a `call` of its own: what a run's code calls by it is a call of the run."""
        super().__init_subclass__(**kwargs)
        for name in ("call", "acall"):
            if name in vars(cls) and not isinstance(vars(cls)[name], staticmethod):  # which has no model
                setattr(cls, name, routed(vars(cls)[name]))

    def __fingerprint__(self) -> dict[str, Any]:
        """See `ModelFields`; of a model that the user's code calls, what decides its answers."""
        return described(custom_of(self)) if calls_by_itself(self) else super().__fingerprint__()

    async def acall(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        callbacks: object = None,
        available_functions: Mapping[str, Callable[..., Any]] | None = None,
        from_task: object = None,
        from_agent: object = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """Ask the model directly, without an agent: a text, or messages with `role` and `content`; the reply's text.

        They are messages as OpenAI's chat completions have them: content may be a list of parts, and an image's
        `url` an address, a data URI or a path in the crew's folder. `files` of a message, by name, follow its content.

        With a pydantic class as `response_model`, or as the LLM's own `response_format`, it is an instance of that; a
        reply that does not validate is sent back once. With `tools`, as OpenAI's chat completions have them, and a
        reply that asks for one, it is what the tool's function in `available_functions` gives, as text. CrewAI's other
        arguments have no effect.

        Inside a run it is a call of the row like those of its agents. Raises CallError, OutputInvalid for a reply that
        is empty or does not validate, what a tool raises, and TypeError for arguments that do not fit.
        """
        from crewrun.llm.direct import (
            ask_custom,
            ask_model,
        )  # with the gateway: a third of the time to import LLM alone

        try:
            if not is_custom(self):
                with stoppable():
                    return await ask_model(
                        self, messages, tools, available_functions, response_model or self.reply_model
                    )
            # a class with no `acall` of its own
            if calling.get() is self:
                raise NotImplementedError(f"{type(self).__name__}: a BaseLLM has no call but its own")
            more = {"tools": tools, "callbacks": callbacks, "available_functions": available_functions}
            more |= {"from_task": from_task, "from_agent": from_agent, "response_model": response_model}
            return await ask_custom(self, CallArguments((messages,), {n: v for n, v in more.items() if v is not None}))
        except (Exception, CancelledError) as error:
            shorten(error)
            raise

    def call(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        callbacks: object = None,
        available_functions: Mapping[str, Callable[..., Any]] | None = None,
        from_task: object = None,
        from_agent: object = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """`acall` for sync code. It blocks a running event loop, with a warning."""
        arguments = (messages, tools, callbacks, available_functions, from_task, from_agent, response_model)
        return run_sync("call", "acall", self.acall, *arguments)


def as_fallbacks(value: Any) -> list["LLM"]:
    """What `fallbacks` accepts, one or several models, as LLMs."""
    return [as_llm(other) for other in (value if isinstance(value, list) else [value])] if value else []


def as_llm(value: Any) -> Any:
    """What an `llm=` field accepts, as an LLM: a name, a mapping, another library's model object, or a list of these,
    whose first is the model and whose others are its fallbacks.

    So is an object of the user's with a `call` of its own, see `custom.model`. Raises ValueError for anything else.
    """
    if value is None or isinstance(value, LLM):
        if value is not None and "fallbacks" not in value.__dict__:
            name = type(value).__name__
            raise ValueError(f"{name}.__init__ does not call super().__init__(model=…), which a model needs")
        return value
    if calls_by_itself(value):
        return _adapted(value)
    if isinstance(value, str):
        return LLM(model=value)
    if isinstance(value, dict):
        return LLM(**value)
    if isinstance(value, list) and value:
        first, *others = [as_llm(one) for one in value]
        if not isinstance(first, LLM) or None in others:
            raise ValueError("a list of llms has a model in each place")
        return first.model_copy(update={"fallbacks": [*first.fallbacks, *others]}) if others else first
    if (fields := fields_of_model(value)) is not None:
        return LLM(**fields)
    raise ValueError(f"an llm is a model name, a mapping with `model`, or an LLM, not {type(value).__name__}")


def at_tier(llm: LLM | None, tier: Tier) -> LLM:
    """A copy of `llm`, by default of the default model, at `tier`. Its own `tier` does not count.

    A model of the user's own class is changed in place: a copy would have a state of its own.
    """
    if llm is None:
        from crewrun.llm.endpoints import default_model

        return LLM(model=default_model(), tier=tier)
    if is_custom(llm) and "custom" not in llm.__dict__:
        llm.__dict__["tier"] = tier
        return llm
    other = llm.model_copy(update={"tier": tier})
    other._crewrun_places = llm._crewrun_places
    return other


def _adapted(custom: Any) -> LLM:
    """An object that is no `BaseLLM` and has a `call` of its own, as CrewAI's custom models have it, as an LLM."""
    name = getattr(custom, "model", None) or getattr(custom, "model_name", None)
    llm = LLM(model=name if isinstance(name, str) else type(custom).__name__)
    llm.__dict__["custom"] = custom
    return llm
