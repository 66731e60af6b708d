"""Names that exist only for code that was written for CrewAI. `paths` says which imports lead here."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from crewrun.llm.endpoints import default_model
from crewrun.llm.model import LLM, as_llm
from crewrun.templates import compile_template

LLMMessage = dict[str, Any]
SerializableCallable = Callable[..., Any]


class LLMGuardrailResult(BaseModel):
    """A model's judgement of an answer."""

    valid: bool
    feedback: str | None = None


def create_llm(llm_value: Any = None) -> LLM:
    """A model from a name, a mapping or an object; the run's default for None."""
    llm: LLM = as_llm(default_model() if llm_value is None else llm_value)
    return llm


def interpolate_only(input_string: str | None, inputs: Mapping[str, Any], **_: Any) -> str:
    """`input_string` with `inputs` filled in. Raises InputInvalid, a ValueError, for one that is missing."""
    return compile_template(input_string).render(inputs, "text") if input_string else ""
