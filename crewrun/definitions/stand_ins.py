"""What of CrewAI crewrun does not have: modules whose names do nothing, and modules that are refused with a way out.

`crewai_imports` looks names up with `home_of` and installs the `StandInFinder`; what crewrun has is found before it.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Self

from pydantic_core import core_schema

from crewrun.errors import CrewrunWarning
from crewrun.references import shown

# Modules of CrewAI, with all below them, without which a crew answers the same; and why what they have does nothing.
_WITHOUT_EFFECT: Mapping[str, str] = {
    "agents.cache": "crewrun keeps models' answers, with --cache",
    "events": "crewrun sends no events; callback, task_callback and step_callback are called",
    "hooks.types": "types are for type checkers",
    "hooks.wrappers": "write the decorators",
    "knowledge.storage": "crewrun keeps passages of knowledge in memory",
    "knowledge.utils": "crewrun puts knowledge into prompts by itself",
    "llms.cache": "providers cache prompts by themselves",
    "memory": "crewrun has no memory",
    "planning": "crewrun does not plan",
    "rag": "crewrun has no memory, and chooses passages of knowledge by their words",
    "security": "crewrun gives no fingerprints",
    "telemetry": "crewrun sends nobody anything",
    "types.streaming": "crewrun does not stream",
    "utilities.events": "crewrun sends no events; callback, task_callback and step_callback are called",
    "utilities.exceptions": "crewrun has errors of its own",
    "utilities.i18n": "crewrun's prompts are in English",
    "utilities.logger": "crewrun writes a log of its own; use logging",
    "utilities.printer": "crewrun prints by itself; use print",
}
# Modules without which a crew would do something else, and the way out.
_REFUSED: Mapping[str, str] = {
    "a2a": "it talks to no agents elsewhere; give the agent a tool that does",
    "flow.human_feedback": "nobody is there to be asked; take @human_feedback off the method",
    "llms.hooks": "it does not hand out its requests; use before_llm_call and after_llm_call, or LLM(extra_headers=…)",
    "llms.providers": "it calls providers by itself; write LLM(model='provider/model'), or a BaseLLM of your own",
    "mcp": "it talks to no MCP servers; give the agent tools, or take them out",
    "tasks.hallucination_guardrail": "write the rule as the task's guardrail: a sentence that the agent's model judges",
}
# Names that CrewAI has in one module, and crewrun in another one.
_HOMES: Mapping[str, str] = {
    "crewrun.BaseLLM": "crewrun.llms.base_llm",
    "crewrun.llm.BaseLLM": "crewrun.llms.base_llm",
    "crewrun.Knowledge": "crewrun.knowledge",
    "crewrun.LLMGuardrail": "crewrun.tasks.llm_guardrail",
    "crewrun.Memory": "crewrun.memory",
    "crewrun.PlanningConfig": "crewrun.planning",
    "crewrun.agent.PlanningConfig": "crewrun.planning",
    "crewrun.agent.planning_config.PlanningConfig": "crewrun.planning",
    "crewrun.flow.human_feedback": "crewrun.flow.human_feedback",
    "crewrun.agents.AgentAction": "crewrun.definitions.crewai_names",
    "crewrun.agents.AgentFinish": "crewrun.definitions.crewai_names",
    "crewrun.lite_agent.LiteAgent": "crewrun.definitions.crewai_names",
    "crewrun.tasks.llm_guardrail.LLMGuardrailResult": "crewrun.definitions.crewai_names",
    "crewrun.types.callback.SerializableCallable": "crewrun.definitions.crewai_names",
    "crewrun.utilities.llm_utils.create_llm": "crewrun.definitions.crewai_names",
    "crewrun.utilities.string_utils.interpolate_only": "crewrun.definitions.crewai_names",
    "crewrun.utilities.string_utils.sanitize_tool_name": "crewrun.definitions.crewai_names",
    "crewrun.utilities.types.LLMMessage": "crewrun.definitions.crewai_names",
    "crewrun.utilities.I18N": "crewrun.utilities.i18n",
    "crewrun.utilities.Logger": "crewrun.utilities.logger",
    "crewrun.utilities.Printer": "crewrun.utilities.printer",
}


def home_of(module: str, name: str) -> str:
    """The module of crewrun that has what `from module import name` asks for."""
    return _HOMES.get(f"{module}.{name}", module)


class StandInFinder(MetaPathFinder):
    """Finds the modules that stand in for CrewAI's, as parts of crewrun. Comes last, after what is there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a stand-in. ModuleNotFoundError that says the way out for a module that is refused."""
        package, _, name = fullname.partition(".")
        if package != "crewrun":
            return None
        if (way_out := _entry(_REFUSED, name)) is not None:
            raise ModuleNotFoundError(f"crewrun has no crewai.{name}: {way_out}", name=fullname)
        why = _entry(_WITHOUT_EFFECT, name)
        if why is None and not any(known.startswith(f"{name}.") for known in _WITHOUT_EFFECT):
            return None
        return ModuleSpec(fullname, _Loader(why), is_package=True)


def _entry(table: Mapping[str, str], name: str) -> str | None:
    return next((text for known, text in table.items() if f"{name}.".startswith(f"{known}.")), None)


class _Loader(Loader):
    """Fills a module with whatever is asked for; with nothing when it only leads to others (no `why`)."""

    def __init__(self, why: str | None) -> None:
        self._why = why

    def exec_module(self, module: ModuleType) -> None:
        """CrewAI's names differ from version to version, so all of them are there."""
        why = self._why
        if why is not None:
            module.__dict__["__getattr__"] = lambda name: _stand_in(name, why, module.__name__)


def _stand_in(name: str, why: str, module: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    if name.endswith(("Error", "Exception", "Exceeded")):
        return type(name, (Exception,), {"__module__": module})
    kind = type(name, (_StandIn,), {"__module__": module, "_notice": _Notice(name, why)})
    return object.__new__(kind) if name.islower() or name.isupper() else kind


@dataclass(slots=True)
class _Notice:
    """The warning for what one import brought; given once, for its first use may be in every row."""

    name: str
    why: str
    given: bool = False

    def give(self) -> None:
        if not self.given:
            self.given = True
            warnings.warn(f"{_place()}{self.name} has no effect: {self.why}", CrewrunWarning, stacklevel=3)


def _place() -> str:
    """`crew.py:14: `, the line of the user's that is running."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "crewrun":
        frame = frame.f_back
    return "" if frame is None else f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}: "


class _StandIn:
    """Takes any arguments, has any method, is empty, may be a base class, and decorates functions as they are.

    Of a plain metaclass, since users' classes inherit from it beside others.
    """

    _notice: _Notice

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        cls._notice.give()
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        vars(self).update(kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._notice.give()
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._notice.give()
        return args[0] if len(args) == 1 and inspect.isroutine(args[0]) else self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __str__(self) -> str:
        return ""

    @classmethod
    def __get_pydantic_core_schema__(cls, *of: Any) -> core_schema.CoreSchema:
        """Lets it be the type of a field in a model of the user's."""
        return core_schema.any_schema()
