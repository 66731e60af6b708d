"""`Kickoff`: the values of one kickoff, passed along since nothing is written to the definitions."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from warnings import warn

from crewrun.crew.background import Background
from crewrun.crew.log_file import LogFile
from crewrun.errors import CrewrunWarning
from crewrun.files.attachment import Attachment
from crewrun.files.file import File
from crewrun.limits.windows import RequestWindow
from crewrun.llm.gateway import Gateway
from crewrun.messages import Part
from crewrun.row_context import RowContext
from crewrun.templates import find_key
from crewrun.tools.toolbox import Toolbox

# The input in which CrewAI's triggers pass what triggered them: an e-mail, a row of a form.
TRIGGER_PAYLOAD = "crewai_trigger_payload"


class Coworkers(Protocol):
    """The agents that work may be delegated to, `delegation.Team`."""

    @property
    def agents(self) -> tuple[Any, ...]:
        """All of them."""
        ...

    def toolbox_of(self, agent: Any, own: Toolbox, kickoff: "Kickoff") -> Toolbox:
        """`own` with the tools that delegate to the others, if `agent` may delegate."""
        ...

    def toolbox_for(self, own: Toolbox, coworkers: tuple[Any, ...], kickoff: "Kickoff") -> Toolbox:
        """`own` with the tools that delegate to `coworkers`."""
        ...


def _own_background(agent: Any) -> Background:
    background: Background = agent.background
    return background


class Kickoff(NamedTuple):
    """One run of one crew: its inputs (None: templates are not filled in), the gateway to the models, the row context.

    `team` returns the agents that work may be delegated to, `depth` is how deep this work is delegated. `first` is the
    task whose prompt has a trigger's payload, unless the task declines it. `files` are the files of each task, `parts`
    those of the current task, for coworkers. `crew` is the crew as hooks see it, `background` returns an agent's
    knowledge and skills. Agents and tasks are untyped here, since their modules import this one.
    """

    inputs: Mapping[str, Any] | None
    gateway: Gateway
    row_context: RowContext
    windows: tuple[RequestWindow, ...] = ()
    on_step: tuple[Callable[[Any], Any], ...] = ()
    on_task: tuple[Callable[[Any], Any], ...] = ()
    team: Callable[[], Coworkers] | None = None
    depth: int = 0
    first: object = None
    files: Mapping[Any, Sequence[Attachment]] = MappingProxyType({})
    parts: tuple[Part, ...] = ()
    log: LogFile | None = None
    crew: Any = None
    background: Callable[[Any], Background] = _own_background


class LeftOpen(dict[str, Any]):
    """Inputs of a crew inside a flow, where a placeholder without a value is left as it is, with a warning.

    A crew outside a flow refuses a missing input. Published flows have crews whose texts name inputs that they lack.
    """

    def __missing__(self, name: str) -> Any:
        if (key := find_key(name, self)) is not None:
            return self[key]
        warn(f"a crew in a flow has no input {name!r}: the model is sent {{{name}}} as it is", CrewrunWarning, 2)
        return f"{{{name}}}"


# The `input_files` of the flow whose method is running; the crews that it starts get them too.
flow_files: ContextVar[Mapping[str, File]] = ContextVar("crewrun_flow_files", default=MappingProxyType({}))
# The kickoff whose agent is calling a tool, for the tools that call agents.
current_kickoff: ContextVar[Kickoff | None] = ContextVar("crewrun_kickoff", default=None)
