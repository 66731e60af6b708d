"""The outputs of a kickoff: `CrewOutput`, `TaskOutput`, `AgentOutput`, `UsageMetrics`, with CrewAI's fields."""

import json
from collections.abc import Generator
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, Field, SkipValidation
from pydantic_core import PydanticSerializationError, to_jsonable_python

from crewrun.llm.schema import Format, Structured
from crewrun.messages import Message
from crewrun.notebook.card import Card, Grid
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import counted, quoted, short_repr
from crewrun.tools.tool_failure import ToolFailureRecord
from crewrun.usage import UsageCounter


class UsageMetrics(BaseModel):
    """Tokens and calls. `cost_usd` is None if the price of a model in use is unknown."""

    total_tokens: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    successful_requests: int = 0
    cost_usd: float | None = 0.0

    @classmethod
    def of(cls, usage: UsageCounter) -> "UsageMetrics":
        """The public form of a counter."""
        return cls(
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens=usage.prompt_tokens,
            cached_prompt_tokens=usage.cached_prompt_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            successful_requests=usage.calls,
            cost_usd=usage.cost_usd,
        )

    def __getitem__(self, name: str) -> Any:
        return self.model_dump()[name]


class OutputFormat(StrEnum):
    """Which field of an output has the answer in addition to `raw`."""

    RAW = "raw"
    JSON = "json"
    PYDANTIC = "pydantic"


class Read(NamedTuple):
    """The value read from an answer, `raw`. `instance` is the object in the output's `pydantic`, if there is one."""

    value: Any
    instance: BaseModel | None
    raw: str


class _Answer(Displayed, BaseModel):
    """What all outputs share: an answer as text and, if a task declares a schema, as a value."""

    raw: str = ""
    pydantic: BaseModel | None = None
    json_dict: dict[str, Any] | None = None

    # A field, not a private attribute: pydantic looks those up in Python, which would slow down every row.
    structured: Annotated[Read | None, SkipValidation] = Field(default=None, exclude=True, repr=False)

    @property
    def value(self) -> Any:
        """The answer for a result row: the JSON of what the fields hold now, even if a callback set it; else the text.

        Of `pydantic` and `json_dict`, the one that has been changed counts. A value that fits neither, such as a list,
        counts until the text is changed.
        """
        model, fields, read = self.pydantic, self.json_dict, self.structured
        if fields is not None and (model is None or (read is not None and model is read.instance)):
            return jsonable(fields)
        if model is not None:
            return jsonable(model)
        is_unchanged = read is not None and read.instance is None and read.raw == self.raw
        return read.value if read is not None and is_unchanged and not isinstance(read.value, dict) else self.raw

    @property
    def text(self) -> str:
        """The answer for a file: JSON if it is structured, else the text."""
        value = self.value
        return self.raw if value is self.raw else as_text(value)

    def put(self, structured: Structured, format: Format) -> None:  # noqa: A002
        """Set the fields from a validated answer, which was read from `raw`."""
        self.pydantic = structured.instance if format == "pydantic" else None
        is_fields = format == "json" and isinstance(structured.value, dict)
        self.json_dict = structured.value if is_fields else None
        self.structured = Read(structured.value, self.pydantic, self.raw)

    @property
    def json(self) -> str:  # type: ignore[override]  # CrewAI's name, over pydantic's deprecated method
        """The answer as JSON text. ValueError if the task declares no output_json."""
        if self.json_dict is None:
            raise ValueError("no JSON here: the task declares no output_json")
        return json.dumps(self.json_dict, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The answer's fields; empty if the task declares no schema."""
        if self.json_dict is not None:
            return dict(self.json_dict)
        return self.pydantic.model_dump() if self.pydantic is not None else {}

    def __repr__(self) -> str:
        return short_repr(self, quoted(self.raw), *map(quoted, self._names), *self._facts)

    @property
    def _names(self) -> tuple[str, ...]:
        """Whose answer it is."""
        return ()

    @property
    def _facts(self) -> tuple[str, ...]:
        """What else is shown apart from the answer."""
        return ()

    def _crewrun_card(self) -> Card:
        value = self.value
        if isinstance(value, dict):
            fields = tuple((name, _shown(field)) for name, field in value.items())
            return Card(type(self).__name__, (*self._names, *self._facts), grids=(Grid(("field", "value"), fields),))
        return Card(type(self).__name__, (*self._names, *self._facts), text=_shown(value))

    def __str__(self) -> str:
        if self.pydantic is not None:
            return str(self.pydantic)
        return str(self.json_dict) if self.json_dict is not None else self.raw


class TaskOutput(_Answer):
    """One task's answer, with the task's texts as this run filled them in.

    `tool_failures` are the task's failed calls of tools, at most the first hundred.
    """

    description: str
    name: str | None = None
    expected_output: str | None = None
    summary: str | None = None
    agent: str
    output_format: OutputFormat = OutputFormat.RAW
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tool_failures: list[ToolFailureRecord] = Field(default_factory=list)

    @property
    def has_tool_failures(self) -> bool:
        """Whether a call of a tool failed."""
        return bool(self.tool_failures)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.name or "", self.agent

    @property
    def _facts(self) -> tuple[str, ...]:
        return (_count_of(self.tool_failures),)


class AgentOutput(_Answer):
    """An agent's own answer, from `Agent.kickoff`. Awaitable, since CrewAI's users write `await agent.kickoff(…)`."""

    agent_role: str
    usage_metrics: UsageMetrics = Field(default_factory=UsageMetrics)
    messages: list[dict[str, Any]] = Field(default_factory=list)
    tool_failures: list[ToolFailureRecord] = Field(default_factory=list)

    def __await__(self) -> Generator[Any, None, Self]:
        """Return itself without waiting."""
        return self
        yield  # makes this a generator

    @property
    def has_tool_failures(self) -> bool:
        """Whether a call of a tool failed."""
        return bool(self.tool_failures)

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.agent_role,)

    @property
    def _facts(self) -> tuple[str, ...]:
        return _spent(self.usage_metrics), _count_of(self.tool_failures)


class CrewOutput(_Answer):
    """A crew's answer, which is the last non-empty one of its tasks, with every task's output and the usage."""

    tasks_output: list[TaskOutput] = Field(default_factory=list)
    token_usage: UsageMetrics = Field(default_factory=UsageMetrics)

    @property
    def tool_failures(self) -> list[ToolFailureRecord]:
        """The failed calls of tools of all tasks."""
        return [failure for task in self.tasks_output for failure in task.tool_failures]

    @property
    def has_tool_failures(self) -> bool:
        """Whether a call of a tool failed."""
        return any(task.tool_failures for task in self.tasks_output)

    def __getitem__(self, key: str) -> Any:
        """An attribute of `pydantic`, else an entry of `json_dict`. KeyError if there is neither."""
        if self.pydantic is not None and hasattr(self.pydantic, key):
            return getattr(self.pydantic, key)
        return (self.json_dict or {})[key]

    @property
    def _facts(self) -> tuple[str, ...]:
        return counted(len(self.tasks_output), "task"), _spent(self.token_usage), _count_of(self.tool_failures)

    def _crewrun_card(self) -> Card:
        parts = tuple(task._crewrun_card() for task in self.tasks_output) if len(self.tasks_output) > 1 else ()
        return replace(super()._crewrun_card(), parts=parts)


def _count_of(failures: list[ToolFailureRecord]) -> str:
    return counted(len(failures), "failed tool call")


def _spent(usage: UsageMetrics) -> str:
    cost = f", ${usage.cost_usd:.4g}" if usage.cost_usd else ""
    return f"{counted(usage.total_tokens, 'token')}{cost}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def jsonable(value: Any) -> Any:
    """`value` as JSON data; anything else becomes text. Pydantic objects use the names of their fields, not aliases."""
    if isinstance(value, BaseModel):
        try:
            return value.model_dump(mode="json", warnings=False)
        except PydanticSerializationError:
            pass  # a field was set to a value of a type that it does not allow
    return to_jsonable_python(value, by_alias=False, fallback=str)


def as_text(value: Any) -> str:
    """A JSON value as text."""
    return json.dumps(value, ensure_ascii=False)


def as_dict(message: Message) -> dict[str, Any]:
    """`message` as in CrewAI's outputs."""
    content: Any = [dict(part.wire) for part in message.parts] if message.parts else message.content
    if message.tool_calls:
        calls = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls]
        return {"role": message.role, "content": content, "tool_calls": calls}
    if message.tool_call_id is not None:
        return {"role": message.role, "content": content, "tool_call_id": message.tool_call_id}
    return {"role": message.role, "content": content}
