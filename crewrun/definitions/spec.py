"""Which keys a definition may have, and their types. `checks` is for what must fit together.

The keys are the fields of `Agent`, `Task`, `Crew` and `LLM`. `not_yet` lists CrewAI keys that this version does not
support, so that messages can tell them from typing errors; `ignored` lists keys that crew.yaml accepts without effect.
`descriptions` has a sentence about each key, which editors show.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from crewrun.crew.fields import MISSING, SILENT
from crewrun.definitions.base_spec import Spec
from crewrun.definitions.batch_section import batch_fields
from crewrun.definitions.mcp_spec import McpServerEntry, McpServerSpec
from crewrun.definitions.value_types import (
    LIST,
    MAPPING,
    TEXT,
    AtLeastOne,
    Count,
    Function,
    Functions,
    Guardrail,
    Guardrails,
    InputFile,
    JSONSchema,
    KnowledgeObject,
    KnowledgeSource,
    LogName,
    ModelClass,
    Name,
    NoHumanInput,
    OutputFile,
    Pattern,
    Seconds,
    Text,
    Texts,
    Tool,
    ToolChoice,
    looked_up,
    one_of,
)
from crewrun.llm.parameters import STRUCTURED
from crewrun.llm.variables import is_reference, malformed
from crewrun.messages import Tier


def _key_or_reference(text: str) -> str:
    if text.startswith(("$", "os.environ/")):  # well-formed references are never checked here
        raise PydanticCustomError("reference", "reference")
    return text


def _only_extra(params: dict[str, Any]) -> dict[str, Any]:
    for name in params:
        if name in _RESERVED:
            raise PydanticCustomError("reserved", "reserved", {"name": name})
    return params


def _keys(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Keys of the llm itself, which `additional_params` may not have. Keys that `LLMSpec` got later are not listed: existing
# files have them in `additional_params`.
_RESERVED = _keys(
    "self model provider temperature top_p max_tokens max_completion_tokens stop seed presence_penalty "
    "frequency_penalty reasoning_effort base_url api_base api_key timeout extra_headers function_calling "
    "structured_output fallbacks additional_params"
)


class LLMSpec(Spec):
    """A model and its parameters. `additional_params` go into every request unchanged.

    Any value may be a text with references to environment variables; it is checked once they are looked up.
    """

    noun = "an llm"

    model: Name
    provider: Text | None = None
    base_model: Text | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: AtLeastOne | None = None
    max_completion_tokens: AtLeastOne | None = None
    stop: Texts | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    verbosity: Text | None = None
    service_tier: Text | None = None
    parallel_tool_calls: bool | None = None
    tool_choice: ToolChoice | None = None
    prompt_cache_key: Text | None = None
    safety_identifier: Text | None = None
    logprobs: bool | None = None
    top_logprobs: Count | None = None
    top_k: Count | None = None
    thinking: dict[str, Any] | None = None
    base_url: Text | None = None
    api_base: Text | None = None
    api_key: Annotated[Text, AfterValidator(_key_or_reference)] | None = None
    timeout: Seconds | None = None
    api_version: Text | None = None
    organization: Text | None = None
    project: Text | None = None
    extra_headers: dict[str, str] = Field(default_factory=dict)
    extra_query: dict[str, str | int | float | bool] | None = None
    extra_body: dict[str, Any] | None = None
    drop_params: bool | None = None
    additional_drop_params: list[Text] | None = None
    function_calling: bool | None = None
    structured_output: bool | None = None
    tier: Tier | None = None
    fallbacks: "Model | None" = None
    additional_params: Annotated[dict[str, Any], AfterValidator(_only_extra)] = Field(default_factory=dict)

    @field_validator("*", mode="wrap")
    @classmethod
    def _look_up_later(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if (text := malformed(value)) is not None:
            raise PydanticCustomError("no_reference", "no reference", {"text": text})
        return value if is_reference(value) and info.field_name not in STRUCTURED else check(value)


OneModel = Annotated[
    Annotated[Name, TEXT] | Annotated[LLMSpec, MAPPING],
    one_of("the name of a model, or a mapping with `model`"),
]
Model = Annotated[
    Annotated[Name, TEXT] | Annotated[LLMSpec, MAPPING] | Annotated[list[OneModel], Field(min_length=1), LIST],
    one_of("the name of a model, a mapping with `model`, or a list of these"),
]
LLMSpec.model_rebuild()


class KnowledgeConfigSpec(Spec):
    """How much of the knowledge goes into a prompt; see `KnowledgeConfig`."""

    noun = "a knowledge_config"

    results_limit: AtLeastOne | None = None
    score_threshold: float | None = None
    max_tokens: AtLeastOne | None = None


class AgentSpec(Spec):
    """An agent. Its name is its key under `agents`."""

    noun = "an agent"
    ignored = _keys("cache multimodal security_config tracing")
    not_yet = (MISSING["agent"] | SILENT["agent"] | {"config"}) - ignored

    role: Text
    goal: Text
    backstory: Text
    llm: Model | None = None
    tools: list[Tool] | None = None
    max_iter: AtLeastOne | None = None
    max_rpm: AtLeastOne | None = None
    max_execution_time: Seconds | None = None
    max_retry_limit: Count | None = None
    allow_delegation: bool | None = None
    step_callback: Function | None = None
    system_template: str | None = None
    prompt_template: str | None = None
    response_template: str | None = None
    use_system_prompt: bool | None = None
    inject_date: bool | None = None
    date_format: Text | None = None
    respect_context_window: bool | None = None
    guardrail: Guardrail | None = None
    guardrail_max_retries: Count | None = None
    verbose: bool | None = None
    knowledge: KnowledgeObject | None = None
    knowledge_sources: list[KnowledgeSource] | None = None
    knowledge_config: KnowledgeConfigSpec | None = None
    embedder: dict[str, Any] | None = None
    skills: list[Text] | None = None
    mcps: list[McpServerEntry] | None = None
    tier: Tier | None = None


Manager = Annotated[
    Annotated[Name, TEXT] | Annotated[AgentSpec, MAPPING],
    one_of("the name of an agent, or a mapping with role, goal and backstory"),
]


class TaskSpec(Spec):
    """A task in the mapping form; its name is its key under `tasks`. Without `context` it sees all earlier tasks."""

    noun = "a task"
    ignored = _keys("security_config")
    not_yet = (MISSING["task"] | SILENT["task"] | _keys("config converter_cls response_model")) - ignored

    description: Text
    expected_output: Text
    agent: Name | None = None
    context: list[Name] | None = None
    async_execution: bool | None = None
    tools: list[Tool] | None = None
    output_json: ModelClass | None = None
    output_pydantic: ModelClass | None = None
    output_schema: JSONSchema | None = None
    output_file: OutputFile | None = None
    create_directory: bool | None = None
    markdown: bool | None = None
    human_input: NoHumanInput | None = None
    guardrail: Guardrail | None = None
    guardrails: Guardrails | None = None
    guardrail_max_retries: Count | None = None
    callback: Function | None = None
    callbacks: list[Function] | None = None
    condition: Function | None = None
    allow_crewai_trigger_context: bool | None = None
    input_files: dict[Name, InputFile] | None = None


class NamedTaskSpec(TaskSpec):
    """A task in the list form. Without a name it is `task_1`, `task_2`, … by position."""

    name: Name | None = None


class _BatchSection(Spec):
    """Defaults for the flags of `crewrun batch`, under the same names, with `_` or `-`."""

    noun = "batch"


if TYPE_CHECKING:

    class BatchSpec(_BatchSection):
        """The `batch:` section."""

else:  # a single model: for a subclass of a created one pydantic would build the fields twice at every start
    BatchSpec = create_model("BatchSpec", __base__=_BatchSection, __doc__=_BatchSection.__doc__, **batch_fields())


class IdentitySpec(Spec):
    """What counts as the same run."""

    noun = "an identity"

    base_url: Literal["count", "ignore"] | None = None


class ExpectationSpec(Spec):
    """What is expected of the output, or of a `field` of it: all of the other keys must hold."""

    noun = "an expectation"

    field: Text | None = None
    schema_: Annotated[JSONSchema | None, Field(alias="schema")] = None
    equals: Any = None
    contains: Any = None
    matches: Pattern | None = None
    python: Name | None = None

    def explicit(self) -> dict[str, Any]:
        """The values that the file sets, by key; `equals` may be null."""
        fields = super().explicit() | ({"equals": self.equals} if "equals" in self.model_fields_set else {})
        return {name.removesuffix("_"): value for name, value in fields.items()}


Expectation = Annotated[
    Annotated[Text, TEXT] | Annotated[ExpectationSpec, MAPPING],
    one_of("a comparison such as output.total == row.total, a function module:attr, or a mapping such as {field: …}"),
    looked_up("expectation"),
]


class CrewSpec(Spec):
    """The whole file. `llm` is for agents without one of their own; `inputs` are defaults for placeholders."""

    noun = "a crew"
    ignored = _keys("cache chat_llm full_output language prompt_file security_config share_crew tracing")
    not_yet = (MISSING["crew"] | SILENT["crew"] | {"tools"}) - ignored

    name: Name | None = None
    agents: Annotated[dict[str, AgentSpec], Field(min_length=1)]
    tasks: Annotated[
        Annotated[dict[str, TaskSpec], Field(min_length=1), MAPPING]
        | Annotated[list[NamedTaskSpec], Field(min_length=1), LIST],
        one_of("a mapping of names to tasks, or a list of tasks"),
    ]
    process: Literal["sequential", "hierarchical"] | None = None
    llm: Model | None = None
    manager_llm: Model | None = None
    manager_agent: Manager | None = None
    max_rpm: AtLeastOne | None = None
    inputs: dict[str, Any] | None = None
    before_kickoff: Functions | None = None
    after_kickoff: Functions | None = None
    before_kickoff_callbacks: Functions | None = None
    after_kickoff_callbacks: Functions | None = None
    task_callback: Function | None = None
    step_callback: Function | None = None
    output_log_file: LogName | None = None
    batch: BatchSpec | None = None
    identity: IdentitySpec | None = None
    expect: Annotated[dict[Name, Expectation], Field(min_length=1)] | None = None
    verbose: bool | None = None
    knowledge: KnowledgeObject | None = None
    knowledge_sources: list[KnowledgeSource] | None = None
    knowledge_config: KnowledgeConfigSpec | None = None
    embedder: dict[str, Any] | None = None
    skills: list[Text] | None = None
    mcp_servers: dict[Name, McpServerSpec] | None = None


def spec_at(path: tuple[str | int, ...]) -> type[Spec]:
    """The model of the mapping at `path`, as in `("agents", "writer", "llm")`."""
    match path:
        case ["llm" | "manager_llm", *_] | ["manager_agent", "llm", *_] | ["agents", _, "llm", *_]:
            return LLMSpec
        case ["agents", _] | ["manager_agent"]:
            return AgentSpec
        case ["tasks", int()]:
            return NamedTaskSpec
        case ["tasks", _]:
            return TaskSpec
        case ["mcp_servers", _] | ["manager_agent", "mcps", _] | ["agents", _, "mcps", _]:
            return McpServerSpec
        case ["batch"]:
            return BatchSpec
        case ["identity"]:
            return IdentitySpec
        case ["expect", _]:
            return ExpectationSpec
        case ["knowledge_config"] | ["manager_agent", "knowledge_config"] | ["agents", _, "knowledge_config"]:
            return KnowledgeConfigSpec
    return CrewSpec
