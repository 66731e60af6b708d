"""`Target`: what a batch runs, with a default for everything that it may know before a row runs."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from crewrun.crew.crew import Crew, TaskPreview
from crewrun.diagram import Diagram
from crewrun.errors import nearest
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.llm.model_fields import ModelFields

ACCEPTED = (
    "a crew, a flow or its class, a @CrewBase class, a class or an object with one of akickoff, kickoff_async, "
    "kickoff, run, crew, create_crew and execute, or a function that returns a crew or runs one"
)


class Target(ABC):
    """One kind of thing that a batch runs. `crew`, `flow`, `foreign`, `per_row` and `script` are the kinds.

    A kind says what it knows; the defaults are those of code of which nothing is known but that it can be called. So
    nobody outside this package has to ask which kind a target is.
    """

    kind: ClassVar[str] = "Python"
    """The format of its definition where that is Python code, in words."""
    name: str = ""
    """What messages call it."""
    crew: Crew | None = None
    """The crew that rows run, or that theirs are like; None where rows make their own or run other code."""
    folder: Path | None = None
    """The folder that paths of files count from."""
    user_code: Any = None
    """The user's function or class that rows run, or the path of a file; None where definitions say it all."""
    uncounted_reason: str | None = None
    """Why calls, tokens and cost are not known, None where crewrun makes the calls."""
    makes_crews: bool = False
    """Whether rows have crews of their own, which `crew_of_row` tries to foresee."""
    has_known_models: bool = False
    """Whether `models` has all that rows may call."""

    @property
    def runs_code(self) -> bool:
        """Whether a row may run code of the user's, which may ask and call at will."""
        return True

    @property
    def writes_files(self) -> bool:
        """Whether a row may write files."""
        return True

    @property
    def has_files(self) -> bool:
        """Whether it reads files that definitions or inputs of rows name."""
        return False

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The inputs that every row must have, each with the place that needs it."""
        return {}

    @property
    def readable_inputs(self) -> frozenset[str] | None:
        """The names of all inputs that have an effect, None where only the code knows."""
        return None

    @property
    def embedders(self) -> Sequence[ModelFields]:
        """The embedding models that rows may call."""
        return ()

    @property
    def tool_problems(self) -> Sequence[str]:
        """What is known to keep tools from working, besides `missing_tool_keys`."""
        return ()

    @property
    def missing_tool_keys(self) -> Sequence[str]:
        """The environment variables that tools need and that are not set, each with the user of the tool."""
        return ()

    @property
    def knowledge_files(self) -> frozenset[str]:
        """The files that knowledge and skills come from."""
        return frozenset()

    @property
    def absolute_output_files(self) -> Sequence[str]:
        """The output files that are written as absolute paths, which would be one file for all rows."""
        return ()

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """The models that are known before a row runs, each with its user; None stands for the default model."""
        return ()

    def check(self) -> None:  # noqa: B027  (most kinds have nothing to check)
        """Raise DefinitionError for what keeps every row from running."""

    def read_knowledge(self) -> None:  # noqa: B027  (most kinds have none)
        """Read what agents know. Raises DefinitionError for what cannot be read."""

    def set_folder(self, folder: Path) -> None:
        """Let paths of files count from `folder`."""
        self.folder = folder

    def identity(self, texts: Mapping[str, str]) -> Any:
        """What the fingerprint of a run is made of: a change of it runs every row again.

        `texts` are the definition's files by name. Code that is not crewrun's is known by them alone.
        """
        return texts

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why a row with `inputs` cannot be run, None when it can. Called for every row, and calls no model."""
        return problem_of_missing(self._needed, inputs)

    def problem_at_kickoff(self, inputs: Mapping[str, Any]) -> str | None:
        """Why the kickoff of a row without `problem` would fail before its first call, None when that is not known."""
        return None

    def previews(self, inputs: Mapping[str, Any]) -> Sequence[TaskPreview]:
        """The first prompts of a row with `inputs`; placeholders that are left open stand as they are.

        Raises InputInvalid.
        """
        return ()

    def crew_of_row(self, inputs: Mapping[str, Any]) -> "Target | None":
        """The crew that a row with `inputs` would run, made while nothing is called; None when that is not known.

        Raises InputInvalid, and DefinitionError when the user's code fails.
        """
        return None

    def describe(self, gateway: Gateway) -> dict[str, Any]:
        """What `crewrun check` says of it, as JSON, besides its placeholders."""
        return {}

    def diagram(self, name: str) -> Diagram | None:
        """Its picture, None when there is nothing to draw. `name` is the title where it has none of its own."""
        return None

    @abstractmethod
    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once. `value_of` makes a row's output of the result."""

    @cached_property
    def _needed(self) -> Mapping[str, str]:
        return dict(self.placeholders)


def problem_of_missing(needed: Mapping[str, str], inputs: Mapping[str, Any]) -> str | None:
    """What to say of the `needed` names that `inputs` lack, None when they have all."""
    missing = [name for name in needed if name not in inputs]
    if not missing:
        return None
    named = ", ".join(f"{name!r} (needed by {needed[name]})" for name in missing)
    near = nearest(missing[0], list(inputs))
    return f"missing {named}{f'; the row has {near!r}' if near else ''}"


def kind_of(value: Any) -> str:
    """What `value` is, in words: `an int`, `the class demo.Trip`."""
    if value is None:
        return "None"
    kind = value if inspect.isclass(value) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if inspect.isclass(value):
        return f"the class {name}"
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
