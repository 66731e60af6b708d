"""`PerRowTarget`: the user's function, class or object that makes what a row runs, or runs it itself."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from crewrun.crew.agent import Agent
from crewrun.crew.crew import Crew
from crewrun.crew.family import Watch
from crewrun.crew.task import Task
from crewrun.errors import CrewrunWarning, DefinitionError, InputInvalid
from crewrun.flow.flow import Flow
from crewrun.llm.gateway import Gateway
from crewrun.llm.model import LLM
from crewrun.loading.block import attempt
from crewrun.loading.questions import questions_of_row
from crewrun.references import broken, loading
from crewrun.row_context import current_row_context
from crewrun.target.base import Target, kind_of, problem_of_unfilled
from crewrun.target.crew import CrewTarget
from crewrun.target.engine import current_engine
from crewrun.target.foreign import Used, is_crewai, refuse_foreign, run_foreign
from crewrun.target.methods import entrance_of, has_kickoff, may_run
from crewrun.target.projects import crew_method_of, is_project
from crewrun.target.recipe import MethodStep, Recipe
from crewrun.target.values import OUTPUTS

# A factory may return an object whose method returns another; more than this is a loop.
_MOST_STEPS = 5


class PerRowTarget(Target):
    """Calls the user's code for each row, with the row's fields, and runs the crew or flow that it returns.

    Code that returns neither has run its crew itself. Its result is the row's output, or if it returns None, the answer
    of its last kickoff.
    """

    makes_crews = True

    def __init__(self, recipe: Recipe, sample: Any = None) -> None:
        self._recipe = recipe
        self.name = recipe.what
        self._used = Used(sample)
        self._engine = current_engine()
        self._has_warned = False
        self.user_code: Any = recipe.source
        if self._engine != "crewrun":
            self.uncounted_reason = (
                f"{self.name} is run by {self._engine}: crewrun does not count the calls, tokens and cost of its own"
            )

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The fields that the code's parameters need. What its crews need is known once they are made."""
        return self._recipe.required

    def models(self, gateway: Gateway) -> Sequence[tuple[str, LLM | None]]:
        """Only the model of `--model`. Others are known once the crews are made."""
        is_fixed = self.uncounted_reason is None and gateway.options.model is not None
        return [(self.name, None)] if is_fixed else ()

    def identity(self, texts: Mapping[str, str]) -> Any:
        """The texts of its files, and the user's function or class."""
        return [texts, self._recipe.source, *([] if self.uncounted_reason is None else ["crewai"])]

    def problem(self, inputs: Mapping[str, Any]) -> str | None:
        """Why `inputs` do not fit the arguments, None if they do."""
        return self._recipe.problem(inputs)

    def crew_of_row(self, inputs: Mapping[str, Any]) -> CrewTarget | None:
        """The crew that the code makes from `inputs`; None if it runs one itself."""
        row = deepcopy(dict(inputs))
        try:
            with loading() as load:
                try:
                    outcome = attempt(lambda: self._recipe.run_now(row))
                finally:
                    for stop in load.stops:
                        stop.is_known = True  # in a row it does not stop there
        except KeyboardInterrupt:
            raise
        except InputInvalid:
            raise
        except BaseException as failed:  # SystemExit too
            raise broken(f"calling {self.name}", failed) from None
        result = outcome.value
        if outcome.stop is not None or not (isinstance(result, Crew) and result.tasks):
            return None
        if self.folder is not None and result.folder is None:
            result.set_folder(self.folder)
        return CrewTarget(result)

    async def akickoff(self, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run once. Returns the output of the crew that the code returns, or the result of code that runs one itself.

        Code that repeats a question to the row is ended; the output is then the answer of its last kickoff, such as the
        first round of a chat. Raises InputInvalid, DefinitionError for code that returns neither, and what it raises.
        """
        row = deepcopy(dict(inputs or {}))
        with Watch() as kickoffs:
            try:
                result = await self._made(row)
            except Exception:
                if (question := questions_of_row()) is None or question.end is None:
                    raise
                if not kickoffs.count:
                    raise InputInvalid(question.end) from None
                return kickoffs.last
        if is_crewai(result) and has_kickoff(result):
            refuse_foreign(self._engine, self.name, result)
            return await run_foreign(result, row, self._used, self.name)
        if isinstance(result, Crew | Flow):
            return await self._kicked_off(result, row)
        return self._answer(result, kickoffs)

    async def _made(self, row: Mapping[str, Any]) -> Any:
        """What the user's code returns for the row, after all methods that are called on the result."""
        result = await self._recipe.run(row)
        for _ in range(_MOST_STEPS):
            if (method := self._method_of(result)) is None:
                break
            result = await method.run(result, row)
        return result

    def _method_of(self, result: Any) -> MethodStep | None:
        """The method to call on what the code returned, None if that is a crew, a flow or an answer."""
        kind = type(result)
        if is_project(result):
            return MethodStep.of(kind, crew_method_of(result, self.name), self.name)
        if isinstance(result, (Crew, Flow, Agent, Task, *OUTPUTS)) or is_crewai(result) or not may_run(result):
            return None
        return MethodStep.of(kind, entrance_of(kind, self.name), self.name)

    async def _kicked_off(self, result: Crew | Flow[Any], row: Mapping[str, Any]) -> Any:
        if isinstance(result, Flow):
            return await result._crewrun_copy().akickoff(row)
        if missing := problem_of_unfilled(result.placeholders, row):
            raise InputInvalid(missing)
        if self.folder is not None and result.folder is None:
            result.set_folder(self.folder)
        return await result.akickoff(row)

    def _answer(self, result: Any, kickoffs: Watch) -> Any:
        """The row's output from what the code returned. Raises DefinitionError if that is not an answer."""
        if result is None and kickoffs.count:
            self._warn()
            return kickoffs.last
        inner = result if isinstance(result, list | tuple | set) else [result]
        odd = next((one for one in inner if not _is_answer(one)), None)
        if result is None or odd is not None:
            raise DefinitionError(f"{self._recipe.place}: {self.name} {_refusal(result, odd)}")
        row_context = current_row_context()
        if row_context is not None and not row_context.usage.calls:
            if self._recipe.method is None and not _is_data(result):
                raise DefinitionError(f"{self._recipe.place}: {self.name} {_refusal(result, result)}")
            row_context.usage.add_unseen_calls()  # another library made its calls, or there were none
        return result

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self._recipe.place}: {self.name} returns nothing, so the answer of its last kickoff is the row's "
                "output; return it",
                CrewrunWarning,
                stacklevel=2,
            )


def _is_answer(value: Any) -> bool:
    """Whether `value` can be an output, and is not something to run or await."""
    if isinstance(value, OUTPUTS):  # an agent's output is awaitable too
        return True
    is_code = isinstance(value, type) or callable(value) or hasattr(value, "send") or hasattr(value, "__await__")
    return not (isinstance(value, Crew | Flow | Agent | Task) or (is_crewai(value) and has_kickoff(value)) or is_code)


def _is_data(value: Any) -> bool:
    """Whether `value` can be written as JSON, or is another library's output with a `raw` text."""
    try:
        to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        return isinstance(getattr(value, "raw", None), str)
    return True


def _refusal(result: Any, odd: Any) -> str:
    if result is None:
        return "returns None and has kicked nothing off; return the crew, or the answer of its kickoff"
    if odd is result:
        return f"returns {kind_of(result)}, which cannot be run; return a crew, a flow, or an answer"
    return (
        f"returns a {type(result).__name__} with {kind_of(odd)} in it, and a row runs one crew; "
        "return that one, or kick them off and return their answers"
    )
