"""`Target`: what a batch runs, with a default for everything that may be asked about it before a row runs."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from crewrun.crew.crew import Crew, TaskPreview
from crewrun.crew.listed_servers import ListedServer
from crewrun.diagram import Diagram
from crewrun.errors import InputInvalid, nearest
from crewrun.expect.expectations import NOTHING, Expectations
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.model_fields import ModelFields
from crewrun.templates import find_key

ACCEPTED = (
    "a crew, a flow or its class, a @CrewBase class, a class or an object with one of akickoff, kickoff_async, "
    "kickoff, run, crew, create_crew and execute, or a function that returns a crew or runs one"
)


class Target(ABC):
    """Something that a batch runs. The kinds are `crew`, `flow`, `foreign`, `per_row` and `script`.

    A kind overrides what it knows better; the defaults are right for arbitrary code that can be called. So no code
    outside this package has to check which kind a target is.
    """

    kind: ClassVar[str] = "Python"
    """The format of a definition in Python code, in words."""
    name: str = ""
    """Its name in messages."""
    crew: Crew | None = None
    """The crew that rows run, or one like those they run; None if rows make their own crews or run other code."""
    folder: Path | None = None
    """The folder that file paths are relative to."""
    user_code: Any = None
    """The user's function or class that rows run, or the path of a file; None if a definition is all there is."""
    uncounted_reason: str | None = None
    """Why calls, tokens and cost are unknown; None if crewrun makes the calls."""
    makes_crews: bool = False
    """Whether each row makes a crew, which `crew_of_row` tries to make in advance."""
    needs_texts: bool = False
    """Whether only the texts of its files tell that it has changed."""
    has_known_models: bool = False
    """Whether `models` has all models that rows may call."""
    expectations: Expectations = NOTHING
    """What is expected of each row's output, which is checked and counted; a row that misses it is not failed."""

    @property
    def runs_code(self) -> bool:
        """Whether a row may run the user's code, which may do anything."""
        return True

    @property
    def writes_files(self) -> bool:
        """Whether a row may write files."""
        return True

    @property
    def has_files(self) -> bool:
        """Whether it reads files that definitions or rows' inputs name."""
        return False

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The inputs that every row must have, each with what needs it."""
        return {}

    @property
    def readable_inputs(self) -> frozenset[str] | None:
        """The names of all inputs that have an effect; None if only running the code can tell."""
        return None

    @property
    def named_inputs(self) -> frozenset[str]:
        """The names of inputs in its texts, as far as they are known, whether or not a row must have them."""
        return frozenset(self.placeholders)

    def is_filled(self, name: str, inputs: Mapping[str, Any]) -> bool:
        """Whether a row with `inputs` has the input `name`."""
        return name in inputs

    @property
    def embedders(self) -> Sequence[ModelFields]:
        """The embedding models that rows may call."""
        return ()

    @property
    def tool_problems(self) -> Sequence[str]:
        """Known reasons why tools cannot work, other than `missing_tool_keys`."""
        return ()

    @property
    def missing_tool_keys(self) -> Sequence[str]:
        """The environment variables that tools need and that are not set, each with the agent or task of the tool."""
        return ()

    @property
    def knowledge_files(self) -> frozenset[str]:
        """The files that knowledge and skills come from."""
        return frozenset()

    @property
    def absolute_output_files(self) -> Sequence[str]:
        """The output files with absolute paths, which all rows would write to."""
        return ()

    @property
    def has_servers(self) -> bool:
        """Whether agents have tools of MCP servers, as far as it is known before a row runs."""
        return False

    async def list_servers(self) -> Sequence[ListedServer]:
        """Open these servers and list their tools. Raises nothing for a server that does not answer."""
        return ()

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """The models known before a row runs, each with what uses it; None stands for the default model."""
        return ()

    def check(self) -> None:  # noqa: B027  (most kinds have nothing to check)
        """Raise DefinitionError if no row could run."""

    def read_knowledge(self) -> None:  # noqa: B027  (most kinds have none)
        """Read the agents' knowledge. Raises DefinitionError if it cannot be read."""

    def set_folder(self, folder: Path) -> None:
        """Make file paths relative to `folder`."""
        self.folder = folder

    def identity(self, texts: Mapping[str, str]) -> Any:
        """What the fingerprint of a run is computed from. A change of it makes every row run again.

        `texts` are the definition's files by name: all that is known of code that is not crewrun's.
        """
        return texts

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why a row with `inputs` cannot run, None if it can. Called for every row; calls no model."""
        return problem_of_missing(self._needed, inputs)

    def problem_at_kickoff(self, inputs: Mapping[str, Any]) -> str | None:
        """Why the kickoff of a row without a `problem` would fail before its first call, None if nothing is known."""
        return None

    def text_warnings(self, columns: Collection[str], constants: Collection[str]) -> Sequence[str]:
        """Warnings about braces in its texts that nothing fills in.

        `columns` are the keys of the rows, as far as they are known, `constants` those of inputs for all rows.
        """
        return ()

    def previews(self, inputs: Mapping[str, Any]) -> Sequence[TaskPreview]:
        """The first prompts of a row with `inputs`; placeholders without an input stay as they are written.

        Raises InputInvalid.
        """
        return ()

    def crew_of_row(self, inputs: Mapping[str, Any]) -> "Target | None":
        """The crew that a row with `inputs` would run, made without calling a model; None if that is not known.

        Raises InputInvalid, and DefinitionError if the user's code fails.
        """
        return None

    def describe(self, gateway: Gateway) -> dict[str, Any]:
        """What `crewrun check` says about it, as JSON, without its placeholders."""
        return {}

    def diagram(self, name: str) -> Diagram | None:
        """Its diagram, None if there is nothing to draw. `name` is the title if it has no name of its own."""
        return None

    @abstractmethod
    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once. `value_of` makes a row's output from the result."""

    @cached_property
    def _needed(self) -> Mapping[str, str]:
        return dict(self.placeholders)


def problem_of_missing(needed: Mapping[str, str], inputs: Mapping[str, Any]) -> str | None:
    """The message about the `needed` names that `inputs` do not have, None if they have all."""
    missing = [name for name in needed if name not in inputs]
    return _missing(missing, needed, inputs) if missing else None


def problem_of_unfilled(needed: Mapping[str, str], inputs: Mapping[str, Any]) -> str | None:
    """The message about the `needed` placeholders that `inputs` do not fill in, None if they fill in all."""
    others = [name for name in needed if name not in inputs]
    if not others:
        return None
    try:
        missing = [name for name in others if find_key(name, inputs) is None]
    except InputInvalid as ambiguous:
        return str(ambiguous)
    return _missing(missing, needed, inputs) if missing else None


def _missing(names: Sequence[str], needed: Mapping[str, str], inputs: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name!r} (needed by {needed[name]})" for name in names)
    near = nearest(names[0], list(inputs))
    return f"missing {named}{f'; the row has {near!r}' if near else ''}"


def kind_of(value: Any) -> str:
    """The type of `value` in words: `an int`, `the class demo.Trip`."""
    if value is None:
        return "None"
    kind = value if inspect.isclass(value) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if inspect.isclass(value):
        return f"the class {name}"
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
