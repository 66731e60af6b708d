"""`CrewTarget`: one of our crews as a batch runs it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewrun.aio.concurrency import call
from crewrun.crew.braces import brace_warnings, has_key, names_in
from crewrun.crew.crew import Crew, TaskPreview
from crewrun.crew.listed_servers import ListedServer
from crewrun.crew.output import CrewOutput
from crewrun.crew.output_files import absolute_files
from crewrun.crew.plot import diagram_of
from crewrun.diagram import Diagram
from crewrun.errors import InputInvalid
from crewrun.expect.expectations import NOTHING, Expectations
from crewrun.limits.windows import share_window
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.model_fields import ModelFields
from crewrun.target.base import Target, problem_of_unfilled
from crewrun.target.description import describe_crew
from crewrun.templates import find_key


@dataclass(frozen=True, slots=True)
class PerRowCopy:
    """How a row gets its own crew like the target's: `make` returns one for the row's inputs.

    With `only_with`, only rows that have one of these fields get one, which depends on them. `problem` says why a row's
    inputs do not fit, None if they do.
    """

    make: Callable[[Mapping[str, Any]], Any]
    only_with: frozenset[str] | None = None
    problem: Callable[[Mapping[str, Any]], str | None] | None = None

    def applies_to(self, inputs: Mapping[str, Any]) -> bool:
        """Whether a row with `inputs` gets its own crew."""
        return self.only_with is None or bool(self.only_with & inputs.keys())


class CrewTarget(Target):
    """All rows run `crew`, which no run writes to, or with `copies`, their own crews like it."""

    has_known_models = True

    def __init__(self, crew: Crew, copies: PerRowCopy | None = None, expectations: Expectations = NOTHING) -> None:
        self.crew: Crew = crew
        self.expectations = expectations
        self._copies = copies
        self.folder = crew.folder

    @property
    def runs_code(self) -> bool:
        """Whether it has tools, callbacks, hooks, conditions or guardrails, or rows have their own crews."""
        return self._copies is not None or self.crew.runs_code

    @property
    def writes_files(self) -> bool:
        """Whether a task has an output_file, or the crew a log."""
        return self.crew.writes_files

    @property
    def has_files(self) -> bool:
        """Whether a task has input_files."""
        return self.crew.has_files

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The inputs that its texts need and `default_inputs` does not have."""
        return self.crew.placeholders

    @property
    def readable_inputs(self) -> frozenset[str] | None:
        """The inputs that its texts and expectations name; None if callbacks or files may use others."""
        expected = self.expectations.inputs
        if self.crew.before_kickoff_callbacks or self.has_files or expected is None:
            return None
        return names_in(self.crew) | expected

    @property
    def named_inputs(self) -> frozenset[str]:
        """The names in its texts that may be those of columns."""
        return names_in(self.crew, words_only=True)

    def is_filled(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether `inputs` have a key for `{name}`, or several, which is the row's problem."""
        return has_key(name, inputs)

    @property
    def embedders(self) -> Sequence[ModelFields]:
        """The embedding models that knowledge is searched with."""
        return self.crew.embedders

    @property
    def tool_problems(self) -> Sequence[str]:
        """Known reasons why the agents' tools cannot work."""
        return self.crew.tool_problems

    @property
    def missing_tool_keys(self) -> Sequence[str]:
        """The environment variables that the agents' tools need and that are not set."""
        return self.crew.missing_tool_keys

    @property
    def knowledge_files(self) -> frozenset[str]:
        """The files that knowledge and skills come from."""
        return self.crew.knowledge_files

    @property
    def absolute_output_files(self) -> Sequence[str]:
        """The tasks' output files that are absolute paths."""
        return absolute_files(self.crew.tasks)

    @property
    def has_servers(self) -> bool:
        """Whether agents have tools of MCP servers."""
        return self.crew.has_servers

    async def list_servers(self) -> Sequence[ListedServer]:
        """Open these servers and list their tools."""
        return await self.crew.list_servers()

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """The models of all agents."""
        return self.crew.models

    def check(self) -> None:
        """Raise DefinitionError for a crew that cannot run, or for a missing file."""
        self.crew.check()
        self.crew.check_files()

    def read_knowledge(self) -> None:
        """Read the agents' knowledge, and warn about what is wrong with it. Raises DefinitionError."""
        self.crew.check_knowledge()

    def set_folder(self, folder: Path) -> None:
        """Make paths of `input_files` relative to `folder`."""
        super().set_folder(folder)
        self.crew.set_folder(folder)

    def identity(self, texts: Mapping[str, str]) -> Any:
        """The crew itself, whatever its format."""
        return self.crew

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why a row cannot run: a missing input or file, or arguments that do not fit."""
        if (missing := problem_of_unfilled(self._needed, inputs)) is not None:
            return missing
        unfit = self._copies.problem(inputs) if self._copies is not None and self._copies.problem is not None else None
        return unfit or (self.crew.problem_with_files(inputs) if self.has_files else None)

    def problem_at_kickoff(self, inputs: Mapping[str, Any]) -> str | None:
        """Why the texts cannot be filled in; unknown if callbacks may change the inputs."""
        if self.crew.before_kickoff_callbacks:
            return None
        try:
            self.crew.preview(inputs)
        except InputInvalid as invalid:
            return str(invalid)
        return None

    def text_warnings(self, columns: Collection[str], constants: Collection[str]) -> Sequence[str]:
        """Warnings about braces that look like placeholders and are not."""
        return brace_warnings(self.crew, columns, constants)

    def previews(self, inputs: Mapping[str, Any]) -> Sequence[TaskPreview]:
        """The first prompt of each task. Raises InputInvalid as a kickoff does."""
        completed = {**self.crew.default_inputs, **inputs}
        try:
            open_names = [name for name in names_in(self.crew) if find_key(name, completed) is None]
            return self.crew.preview({**{name: f"{{{name}}}" for name in open_names}, **inputs})
        except InputInvalid:
            if self.crew.before_kickoff_callbacks:  # which may provide what is missing
                return ()
            raise

    def describe(self, gateway: Gateway) -> dict[str, Any]:
        """Its process, agents and tasks."""
        return describe_crew(self.crew, gateway)

    def diagram(self, name: str) -> Diagram:
        """The tasks with their contexts and agents."""
        return diagram_of(self.crew, name)

    async def for_a_row(self, inputs: Mapping[str, Any]) -> Crew:
        """The crew that a row with `inputs` runs: `crew`, or its own, which shares the `max_rpm`s of `crew`."""
        if self._copies is None or not self._copies.applies_to(inputs):
            return self.crew
        other: Crew = await call(self._copies.make, inputs)
        if self.folder is not None:
            other.set_folder(self.folder)
        if self.crew.max_rpm:
            share_window(self.crew, other, self.crew.max_rpm)
        for agent, twin in zip(self.crew.agents, other.agents, strict=False):
            if agent.max_rpm:
                share_window(agent, twin, agent.max_rpm)
        return other

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> CrewOutput:
        """Run once."""
        crew = await self.for_a_row(inputs or {})
        return await crew.akickoff(inputs)
