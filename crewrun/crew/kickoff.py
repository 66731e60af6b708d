"""What one kickoff carries through the crew, in place of writing to the definitions."""

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
from crewrun.tools.toolbox import Toolbox

# The input under which CrewAI's triggers hand over what set them off: an e-mail, a row of a form.
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
    """One run of one crew: its inputs (None: templates stay as they are), the gateway to the models, the row context.

    `team` gives the agents that work may be delegated to, `depth` how often it has been delegated on the way here.
    `first` is the task whose prompt has a trigger's payload unless the task declines it. `files` are those of each
    task, and `parts` what a coworker is shown of those of the task at hand. `crew` is the crew as hooks see it,
    `background` gives what an agent of the crew knows. Agents and tasks stand above this module, so none is typed here.
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
    """Inputs of a crew inside a flow, where placeholders without a value stand as they are.

    A kickoff of its own refuses them. Published flows have crews that share their texts and are not given all of them.
    """

    def __missing__(self, name: str) -> str:
        warn(f"a crew in a flow has no input {name!r}: the model is sent {{{name}}} as it is", CrewrunWarning, 2)
        return f"{{{name}}}"


# The files of the flow that the code here is a method of: crews that it starts have them too.
flow_files: ContextVar[Mapping[str, File]] = ContextVar("crewrun_flow_files", default=MappingProxyType({}))
# The kickoff whose agent is calling a tool, for the tools that call agents.
current_kickoff: ContextVar[Kickoff | None] = ContextVar("crewrun_kickoff", default=None)
