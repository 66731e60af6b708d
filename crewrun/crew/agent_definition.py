"""`AgentDefinition`: the fields of an agent, and its texts with one row's inputs filled in, a `Persona`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SkipValidation, model_validator

from crewrun.crew.background import Background, Backgrounds
from crewrun.crew.fields import accept, effective_fields, template_of
from crewrun.crew.mcp_tools import McpTools
from crewrun.crew.prompts import Prompt, system_prompt
from crewrun.declared import Declared
from crewrun.knowledge.knowledge import Knowledge
from crewrun.knowledge.knowledge_config import KnowledgeConfig
from crewrun.knowledge.source.base_knowledge_source import BaseKnowledgeSource
from crewrun.knowledge.sources import as_sources
from crewrun.llm.model import LLM, as_llm, at_tier
from crewrun.mcp.forms import as_servers
from crewrun.mcp.server import McpServer
from crewrun.messages import Tier
from crewrun.skills.loader import as_skills
from crewrun.skills.models import Skill
from crewrun.templates import Template
from crewrun.tools.base import BaseTool
from crewrun.tools.foreign import as_tools
from crewrun.tools.toolbox import NO_TOOLS, Toolbox

AnyLLM = Annotated[LLM | str | dict[str, Any] | list[Any] | None, BeforeValidator(as_llm)]


class Persona(NamedTuple):
    """An agent with one row's inputs filled in."""

    role: str
    goal: str
    backstory: str


class AgentDefinition(Declared):
    """The fields of an `Agent`. Runs never write to it."""

    # Assignments are validated so that `agent.llm = "…"` becomes an LLM, as in the constructor.
    model_config = ConfigDict(
        extra="ignore", validate_assignment=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    role: str
    goal: str
    backstory: str
    llm: AnyLLM = None
    name: str | None = None
    tools: Annotated[list[BaseTool], BeforeValidator(as_tools)] = Field(default_factory=list)
    max_iter: int = Field(default=25, ge=0)
    max_rpm: int | None = Field(default=None, ge=0)
    max_execution_time: float | None = Field(default=None, gt=0)
    max_retry_limit: int = Field(default=0, ge=0)
    allow_delegation: bool = False
    step_callback: Annotated[Callable[[Any], Any] | None, SkipValidation] = None
    system_template: str | None = None
    prompt_template: str | None = None
    response_template: str | None = None
    use_system_prompt: bool = True
    inject_date: bool = False
    date_format: str = "%Y-%m-%d"
    respect_context_window: bool = True
    guardrail: Annotated[Callable[[Any], Any] | str | None, SkipValidation] = None
    guardrail_max_retries: int = Field(default=3, ge=0)
    verbose: bool | int = False
    knowledge: Knowledge | None = None
    knowledge_sources: Annotated[list[BaseKnowledgeSource] | None, BeforeValidator(as_sources)] = None
    knowledge_config: KnowledgeConfig | None = None
    embedder: Any = None
    skills: Annotated[list[Skill] | None, BeforeValidator(as_skills)] = None
    mcps: Annotated[list[McpServer], BeforeValidator(as_servers)] = Field(default_factory=list)
    tier: Tier | None = None

    _doubled_braces: bool = PrivateAttr(default=False)
    _tiered: tuple[LLM | None, Tier, LLM] | None = PrivateAttr(default=None)
    _toolbox: tuple[list[BaseTool], Toolbox] | None = PrivateAttr(default=None)
    _backgrounds: Backgrounds = PrivateAttr(default_factory=Backgrounds)
    _mcp_tools: McpTools = PrivateAttr(default_factory=McpTools)

    # Agents are compared by identity: two with equal texts are two agents.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    if TYPE_CHECKING:
        # `config=` may have the required fields, so a type checker must not demand them as arguments.
        def __init__(self, **fields: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, fields: Any) -> Any:
        return accept("agent", cls, fields)

    @property
    def label(self) -> str:
        """The agent's name in messages."""
        return repr(self.name or self.role.strip())

    @property
    def model(self) -> LLM | None:
        """The model of the agent, None for the run's default."""
        llm = cast("LLM | None", self.llm)  # the validator has turned any other form into an LLM
        return llm if self.tier is None else self._at_tier(llm, self.tier)

    def _at_tier(self, llm: LLM | None, tier: Tier) -> LLM:
        """`llm` at the agent's tier: the same object each time, since the gateway knows a model by its object."""
        if self._tiered is None or self._tiered[:2] != (llm, tier):
            self._tiered = (llm, tier, at_tier(llm, tier))
        return self._tiered[2]

    @property
    def toolbox(self) -> Toolbox:
        """The agent's tools, prepared once for each list of tools."""
        if not self.tools:
            return NO_TOOLS  # the common case, which reading a private attribute of pydantic's would slow down
        if self._toolbox is None or self._toolbox[0] != self.tools:
            self._toolbox = (list(self.tools), Toolbox(self.tools))
        return self._toolbox[1]

    def __fingerprint__(self) -> dict[str, Any]:
        return {name: value for name, value in effective_fields(self).items() if name != "tier"}

    @property
    def background(self) -> Background:
        """The agent's own knowledge and skills, without a crew's. Raises DefinitionError."""
        return self._backgrounds.of(self)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that the agent's texts need."""
        return frozenset().union(*(template.names for template in self.templates.values()))

    @property
    def templates(self) -> dict[str, Template]:
        """The agent's texts that inputs are filled into, by field."""
        return {name: template_of(self, getattr(self, name)) for name in ("role", "goal", "backstory")}

    def persona(self, inputs: Mapping[str, Any] | None) -> Persona:
        """The agent's texts with `inputs` filled in; without inputs, the templates themselves."""
        role, goal, backstory = (template_of(self, text) for text in (self.role, self.goal, self.backstory))
        if inputs is None:
            return Persona(role.unfilled.strip(), goal.unfilled, backstory.unfilled)
        where = f"agents.{self.name or self.role.strip()}"
        return Persona(
            role.render(inputs, f"{where}.role").strip(),
            goal.render(inputs, f"{where}.goal"),
            backstory.render(inputs, f"{where}.backstory"),
        )

    def compose(self, persona: Persona, before: str, context: str = "", background: str = "") -> Prompt:
        """The prompt for `persona` of `before`, then `context`, in the agent's own templates if it has them.

        `background` is the text about the agent's knowledge and skills for the system turn.
        """
        date = datetime.now().astimezone().strftime(self.date_format) if self.inject_date else None
        system = system_prompt(persona, date, background)
        if self.system_template and self.prompt_template:
            # As in CrewAI: templates take effect only together, and then everything is in one user turn.
            head, _, tail = self.prompt_template.partition("{{ .Prompt }}")
            start = (self.response_template or "").partition("{{ .Response }}")[0]
            before = f"{self.system_template.replace('{{ .System }}', system)}{head}{before}"
            return Prompt(None, before, context, f"{tail}{start}")
        if not self.use_system_prompt:
            return Prompt(None, f"{system}\n\n{before}", context)
        return Prompt(system, before, context)
