"""Which keys `crew.yaml` accepts, and of what type. What they must refer to is checked in `crew_yaml`.

`not_yet` lists CrewAI's keys that this version does not run, so that a message can tell them from typing errors.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "blank")
    return text


def _key_or_reference(text: str) -> str:
    if text.startswith(("$", "os.environ/")) and not _REFERENCE.fullmatch(text.strip()):
        raise PydanticCustomError("reference", "reference")
    return text


def _only_extra(params: dict[str, Any]) -> dict[str, Any]:
    for name in params:
        if name in LLMSpec.model_fields or name in ("api_base", "self"):
            raise PydanticCustomError("reserved", "reserved", {"name": name})
    return params


def _share(text: str) -> str:
    found = _SHARE.fullmatch(text)
    if not found or not 0 < float(found[1]) <= 100:
        raise ValueError("needs a number of rows, or a share of them above 0% and up to 100%, such as '5%'")
    return text


def _shape(value: Any) -> str:
    """Which member of a union `value` is meant to be; the tags look like nothing that is a key."""
    return {str: "<text>", dict: "<mapping>", list: "<list>", int: "<number>"}.get(type(value), "<other>")


def _one_of(needed: str) -> Discriminator:
    return Discriminator(_shape, custom_error_type="shape", custom_error_message=needed)


def _keys(names: str) -> frozenset[str]:
    return frozenset(names.split())


_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w*\}|\$[A-Za-z_]\w*|os\.environ/[A-Za-z_]\w*")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")

Text = Annotated[str, AfterValidator(_not_blank)]
Name = Annotated[str, AfterValidator(str.strip), AfterValidator(_not_blank)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class Spec(BaseModel):
    """One mapping of the file. `noun` is what messages call it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    noun: ClassVar[str]
    not_yet: ClassVar[frozenset[str]] = frozenset()


class LLMSpec(Spec):
    """A model and its parameters: the fields of `crewrun.llm.model.LLM`.

    What is in `additional_params` goes into every request as it is.
    """

    noun = "an llm"

    model: Name
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: AtLeastOne | None = None
    max_completion_tokens: AtLeastOne | None = None
    stop: (
        Annotated[
            Annotated[str, Tag("<text>")] | Annotated[list[str], Tag("<list>")], _one_of("text or a list of texts")
        ]
        | None
    ) = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning_effort: str | None = None
    base_url: Text | None = None
    api_base: Text | None = None
    api_key: Annotated[Text, AfterValidator(_key_or_reference)] | None = None
    timeout: Seconds | None = None
    extra_headers: dict[str, str] = Field(default_factory=dict)
    additional_params: Annotated[dict[str, Any], AfterValidator(_only_extra)] = Field(default_factory=dict)


Model = Annotated[
    Annotated[Name, Tag("<text>")] | Annotated[LLMSpec, Tag("<mapping>")],
    _one_of("the name of a model, or a mapping with `model`"),
]


class AgentSpec(Spec):
    """An agent; its name is its key under `agents`."""

    noun = "an agent"
    not_yet = _keys(
        "tools max_iter max_rpm max_execution_time max_retry_limit allow_delegation cache step_callback "
        "system_template prompt_template response_template use_system_prompt inject_date date_format "
        "respect_context_window function_calling_llm reasoning max_reasoning_attempts planning_config "
        "knowledge_sources embedder multimodal allow_code_execution code_execution_mode guardrail "
        "guardrail_max_retries memory max_tokens mcps apps skills a2a config"
    )

    role: Text
    goal: Text
    backstory: Text
    llm: Model | None = None
    verbose: bool = False


class TaskSpec(Spec):
    """A task of the mapping form; its name is its key under `tasks`. `context` left out means all earlier tasks."""

    noun = "a task"
    not_yet = _keys(
        "tools output_file create_directory markdown human_input guardrail guardrails guardrail_max_retries "
        "output_json output_pydantic output_schema response_model callback callbacks condition config "
        "input_files security_config max_retries allow_crewai_trigger_context"
    )

    description: Text
    expected_output: Text
    agent: Name
    context: list[Name] | None = None
    async_execution: bool = False


class NamedTaskSpec(TaskSpec):
    """A task of the list form. Without a name it is `task_1`, `task_2`, … by its place."""

    name: Name | None = None


class BatchSpec(Spec):
    """Defaults for the flags of `crewrun batch`; here and there the same names, with `_` or `-`."""

    noun = "batch"

    output: Text | None = None
    max_concurrent: AtLeastOne | None = None
    model: Name | None = None
    base_url: Text | None = None
    ordered: bool | None = None
    retries: Count | None = None
    call_timeout: Seconds | None = None
    row_timeout: Seconds | None = None
    grace: Annotated[float, Field(ge=0)] | None = None
    limit: Count | None = None
    offset: Count | None = None
    fail_fast: bool | None = None
    max_failures: (
        Annotated[
            Annotated[AtLeastOne, Tag("<number>")] | Annotated[str, AfterValidator(_share), Tag("<text>")],
            _one_of("a number of rows, or a share of them such as '5%'"),
        ]
        | None
    ) = None
    strict: bool | None = None
    progress: Literal["auto", "rich", "plain", "json", "none"] | None = None
    quiet: bool | None = None
    summary: Text | None = None
    overwrite: bool | None = None


class CrewSpec(Spec):
    """The file. `llm` is for the agents that name none; `inputs` are defaults for placeholders."""

    noun = "a crew"
    not_yet = _keys(
        "memory cache max_rpm manager_llm manager_agent planning planning_llm function_calling_llm step_callback "
        "task_callback before_kickoff_callbacks after_kickoff_callbacks knowledge_sources knowledge embedder "
        "output_log_file share_crew prompt_file stream tracing chat_llm security_config skills language tools "
        "config"
    )

    name: Name | None = None
    agents: Annotated[dict[str, AgentSpec], Field(min_length=1)]
    tasks: Annotated[
        Annotated[dict[str, TaskSpec], Field(min_length=1), Tag("<mapping>")]
        | Annotated[list[NamedTaskSpec], Field(min_length=1), Tag("<list>")],
        _one_of("a mapping of names to tasks, or a list of tasks"),
    ]
    process: Literal["sequential"] = "sequential"
    llm: Model | None = None
    inputs: dict[str, Any] | None = None
    batch: BatchSpec | None = None
    verbose: bool = False


def spec_at(path: tuple[str | int, ...]) -> type[Spec]:
    """The model of the mapping at `path`, as in `("agents", "writer", "llm")`."""
    match path:
        case [*_, "llm"] if len(path) in (1, 3):
            return LLMSpec
        case ["agents", _]:
            return AgentSpec
        case ["tasks", int()]:
            return NamedTaskSpec
        case ["tasks", _]:
            return TaskSpec
        case ["batch"]:
            return BatchSpec
    return CrewSpec
