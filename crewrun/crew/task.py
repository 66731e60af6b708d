"""`Task`: what to do, by which agent, and with which earlier outputs. `ConditionalTask` runs only on a condition."""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any
from weakref import WeakKeyDictionary

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SkipValidation,
    model_validator,
)

from crewrun.crew.agent import Agent
from crewrun.crew.fields import accept, check_output_file, effective_fields, template_of
from crewrun.crew.output import TaskOutput
from crewrun.crew.prompts import with_context
from crewrun.crew.retries import put, retries_of
from crewrun.declared import Declared
from crewrun.errors import DefinitionError
from crewrun.files.file import File, as_files
from crewrun.llm.schema import OutputSchema
from crewrun.notebook.card import Card, Grid
from crewrun.notebook.displayed import Displayed
from crewrun.notebook.short_repr import quoted, short_repr
from crewrun.templates import Template, find_key
from crewrun.tools.base import BaseTool
from crewrun.tools.foreign import as_tools
from crewrun.tools.toolbox import Toolbox

Guardrail = Callable[[TaskOutput], Any] | str
TaskCallback = Callable[[TaskOutput], Any]
Files = Annotated[dict[str, File], PlainValidator(partial(as_files, whose="input_files"))]


class Task(Declared, Displayed):
    """One step of a crew. `description` and `expected_output` may contain `{placeholders}`, and so may `output_file`.

    `context` None means the outputs of all earlier tasks, `[]` none, a list the outputs of those tasks. With
    `async_execution` the task starts at once and is awaited before the next task that is not async, or at the end.
    `tools` replace the agent's.

    The answer must validate against at most one of `output_pydantic` and `output_json` (pydantic classes) and
    `output_schema` (a JSON Schema). Each of `guardrail` and `guardrails` is a function of the TaskOutput that returns
    `(passed, what)`, or a sentence by which the agent's model judges the answer. If an answer does not pass, the agent
    tries again, at most `guardrail_max_retries` times. `callback` and all `callbacks` get the finished TaskOutput.

    `input_files` are files, paths or URLs by name. They go to the model with the prompt, which names them. A path may
    have placeholders, and with a row's inputs may not leave the crew's folder. `{name}` in a text is the file's name,
    unless there is an input of that name.

    An input `crewai_trigger_payload` follows the description of a sequential crew's first task, and that of every task
    with `allow_crewai_trigger_context`; False keeps it out of the first one too.
    """

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    description: str
    expected_output: str
    agent: Agent | None = None
    name: str | None = None
    context: list["Task"] | None = None
    async_execution: bool = False
    tools: Annotated[list[BaseTool], BeforeValidator(as_tools)] = Field(default_factory=list)
    output_json: type[BaseModel] | None = None
    output_pydantic: type[BaseModel] | None = None
    output_schema: dict[str, Any] | bool | None = None
    output_file: str | None = None
    create_directory: bool = True
    markdown: bool = False
    human_input: bool = False
    guardrail: Annotated[Guardrail | None, SkipValidation] = None
    guardrails: Annotated[list[Guardrail] | Guardrail | None, SkipValidation] = None
    guardrail_max_retries: int = Field(default=3, ge=0)
    callback: Annotated[TaskCallback | None, SkipValidation] = None
    callbacks: Annotated[list[TaskCallback], SkipValidation] = Field(default_factory=list)
    allow_crewai_trigger_context: bool | None = None
    input_files: Files = Field(default_factory=dict)

    _doubled_braces: bool = PrivateAttr(default=False)
    _toolbox: tuple[list[BaseTool], Toolbox] | None = PrivateAttr(default=None)
    _schema: tuple[tuple[Any, ...], OutputSchema | None] | None = PrivateAttr(default=None)

    # Tasks refer to each other by identity; two with equal texts are two tasks.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    if TYPE_CHECKING:
        # `config=` may have the required fields, so a type checker must not demand them as arguments.
        def __init__(self, **fields: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "max_retries" in fields:  # CrewAI's older name
            fields = {"guardrail_max_retries": fields["max_retries"], **fields}
        is_of_config = not (isinstance(fields, dict) and "output_file" in fields)
        fields = accept("task", cls, fields)
        if isinstance(fields, dict) and fields.get("output_file") == "":  # CrewAI writes no file then
            fields["output_file"] = None
        if isinstance(fields, dict) and isinstance(fields.get("output_file"), str):
            fields["output_file"] = check_output_file(fields["output_file"], is_of_config=is_of_config)
        return fields

    def model_post_init(self, context: Any, /) -> None:
        """Check the fields when the task is created."""
        declared = [n for n in ("output_json", "output_pydantic", "output_schema") if getattr(self, n) is not None]
        if len(declared) > 1:
            raise DefinitionError(f"task {self.label} has both {' and '.join(declared)}; keep one of them")
        for guardrail in self.all_guardrails:
            if not (guardrail.strip() if isinstance(guardrail, str) else callable(guardrail)):
                kind = repr(guardrail) if isinstance(guardrail, str) else type(guardrail).__name__
                raise DefinitionError(f"task {self.label}: a guardrail is a function or a sentence, not {kind}")
        _ = self.schema_of_output  # an invalid one is a DefinitionError now

    def __fingerprint__(self) -> dict[str, Any]:
        """Without the slash of an absolute `output_file`, which a batch treats as relative to the row's folder."""
        fields = effective_fields(self)
        return fields if self.output_file is None else {**fields, "output_file": self.output_file.lstrip("/")}

    @property
    def label(self) -> str:
        """The task's name in messages: its own, or the beginning of its description."""
        return repr(self.name or self.description.strip()[:40])

    def __repr__(self) -> str:
        agent = f"agent={quoted(self.agent.name or self.agent.role)}" if self.agent is not None else ""
        return short_repr(self, quoted(self.name or ""), quoted(self.description), agent)

    __str__ = __repr__

    def _crewrun_card(self) -> Card:
        agent = self.agent.role.strip() if self.agent is not None else ""
        texts = [("description", self.description), ("expected output", self.expected_output)]
        tools = [("tools", ", ".join(tool.name for tool in self.tools))] if self.tools else []
        file = [("output file", self.output_file)] if self.output_file is not None else []
        grid = Grid(("", ""), (*texts, *tools, *file))
        return Card(f"Task {self.name or ''}".strip(), (agent,), grids=(grid,))

    @property
    def output(self) -> TaskOutput | None:
        """The task's latest output, None before the first. With many rows at once it may be any row's."""
        return latest_outputs.get(self)

    @property
    def retry_count(self) -> int:
        """How often the task was retried for its guardrails: by the current row, else by the latest kickoff."""
        return retries_of(self)

    @retry_count.setter
    def retry_count(self, count: int) -> None:
        put(self, count)

    @property
    def all_guardrails(self) -> list[Guardrail]:
        """`guardrails`, or else `guardrail`, as CrewAI has it."""
        several = self.guardrails if self.guardrails is not None else self.guardrail
        if several is None:
            return []
        return list(several) if isinstance(several, list | tuple) else [several]

    @property
    def schema_of_output(self) -> OutputSchema | None:
        """The schema of the answer, built once for each declaration of it."""
        declared = (self.output_pydantic, self.output_json, self.output_schema)
        if declared == (None, None, None):
            return None
        if self._schema is None or any(a is not b for a, b in zip(self._schema[0], declared, strict=True)):
            self._schema = (declared, OutputSchema.of(*declared, whose=f"task {self.label}"))
        return self._schema[1]

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that the task's own texts need, without its agent's."""
        names = frozenset().union(*(template.names for template in self.templates.values()))
        if not self.input_files:
            return names
        own = frozenset(name for name in names if find_key(name, self.input_files) is None)
        return own.union(*(file.placeholders for file in self.input_files.values()))

    @property
    def templates(self) -> dict[str, Template]:
        """The task's texts that inputs are filled into, by field."""
        texts = {"description": self.description, "expected_output": self.expected_output}
        if self.output_file is not None:
            texts["output_file"] = self.output_file
        return {name: template_of(self, text) for name, text in texts.items()}

    def execute_sync(
        self, agent: Agent | None = None, context: str | None = None, tools: list[Any] | None = None
    ) -> TaskOutput:
        """Perform this task alone, in code without an event loop. `agent` and `tools` replace its own.

        `context` is the text of earlier answers. Raises what a kickoff does.
        """
        update: dict[str, Any] = {"context": []}
        if agent is not None:
            update["agent"] = agent
        if tools is not None:
            update["tools"] = as_tools(tools)
        if context:
            update["description"] = with_context(self.description) + context
        # By name, since the module of crews imports this one.
        crew = import_module("crewrun.crew.crew").Crew(tasks=[self.model_copy(update=update)])
        output: TaskOutput = crew.kickoff().tasks_output[0]
        return output

    def toolbox(self, agent: Agent) -> Toolbox:
        """The tools for this task: its own, else its agent's. Prepared once for each list of tools."""
        if not self.tools:
            return agent.toolbox
        if self._toolbox is None or self._toolbox[0] != self.tools:
            self._toolbox = (list(self.tools), Toolbox(self.tools))
        return self._toolbox[1]


# Outside the tasks, since runs never write to a definition.
latest_outputs: WeakKeyDictionary[Task, TaskOutput] = WeakKeyDictionary()


class ConditionalTask(Task):
    """A task that runs only if `condition(output of the task before it)` is true; else its output is empty."""

    condition: Annotated[Callable[[TaskOutput], bool | Awaitable[bool]], SkipValidation]

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
