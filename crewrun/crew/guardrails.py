"""Guardrails: checks that an answer must pass, each a function of the user's or a sentence for a model to judge by."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from crewrun.aio.concurrency import call
from crewrun.crew.output import AgentOutput, Read, TaskOutput, as_text, jsonable
from crewrun.errors import CrewrunError, GuardrailFailed
from crewrun.llm.schema import OutputSchema

Judge = Callable[[str, str], Awaitable[tuple[bool, str]]]
AnyOutput = TypeVar("AnyOutput", TaskOutput, AgentOutput)


class Judgement(BaseModel):
    """What a model says of an answer that it judges."""

    valid: bool = Field(description="whether the answer keeps to the rule")
    feedback: str | None = Field(default=None, description="what must change, empty if it is valid")


@lru_cache(maxsize=1)
def judgement_schema() -> OutputSchema:
    """The schema of `Judgement`."""
    return OutputSchema.of_model(Judgement, "pydantic", "guardrail")


@dataclass(frozen=True, slots=True)
class GuardrailOutcome:
    """The result of a guardrail: the fault to mend, or a replacement for the answer (None: the answer stays)."""

    fault: str | None = None
    replacement: str | BaseModel | dict[str, Any] | list[Any] | None = None


async def check(guardrail: Any, output: TaskOutput | AgentOutput, whose: str, judge: Judge) -> GuardrailOutcome:
    """Check `output` with the `guardrail` of `whose`; `judge` decides if it is a sentence.

    Raises GuardrailFailed if the guardrail itself fails.
    """
    if isinstance(guardrail, str):
        valid, feedback = await judge(guardrail, output.raw)
        return GuardrailOutcome() if valid else GuardrailOutcome(fault=feedback or f"it does not keep to: {guardrail}")
    name = getattr(guardrail, "__name__", type(guardrail).__name__)
    label = f"guardrail {name!r} of {whose}"
    try:
        result = await call(guardrail, output)
    except CrewrunError:
        raise
    except Exception as failed:
        raise GuardrailFailed(f"{label} raised {type(failed).__name__}: {failed}") from failed
    if not (isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[0], bool)):
        text = repr(result)
        raise GuardrailFailed(
            f"{label} returned {text if len(text) <= 80 else text[:79] + '…'}; "
            "a guardrail returns (True, answer) or (False, what is wrong)"
        )
    passed, what = result
    if not passed:
        return GuardrailOutcome(fault=str(what))
    return GuardrailOutcome(replacement=what if isinstance(what, str | BaseModel | dict | list) else None)


def replaced(
    output: AnyOutput, value: BaseModel | dict[str, Any] | list[Any], schema: OutputSchema | None
) -> AnyOutput:
    """`output` with the value that a guardrail returned; its text becomes the value's JSON.

    A pydantic object is taken as it is, and so is a dict if the schema asks for JSON. If the task asks for a pydantic
    model, a dict is validated by it; raises NotValid if it does not fit.
    """
    if isinstance(value, list) and schema is None:
        return output  # CrewAI ignores it too, and an output has no field for a list
    plain = jsonable(value)
    new_output = output.model_copy(
        update={"raw": as_text(plain), "pydantic": None, "json_dict": None, "structured": None}
    )
    if isinstance(value, BaseModel) and (schema is None or schema.format == "pydantic"):
        new_output.pydantic = value
    elif schema is not None and schema.format == "pydantic":
        new_output.put(schema.read(new_output.raw), "pydantic")
    elif isinstance(plain, dict):
        new_output.json_dict = value if isinstance(value, dict) else plain
    else:
        new_output.structured = Read(plain, None, new_output.raw)
    return new_output


def no_more_tries(tries: int, fault: str) -> GuardrailFailed:
    """The error for an answer that did not pass in `tries` tries."""
    return GuardrailFailed(f"no answer passed the guardrail in {tries} tries; the last one: {fault}")
