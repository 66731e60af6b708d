"""The wires of batch jobs that the mock speaks, each with a model whose calls go over it.

Tests of what holds for batch jobs at any provider are parametrised by `JOB_WIRES`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from support.mock_process import MockProcess


class JobWire(NamedTuple):
    """How a provider's batch jobs are reached.

    `llm` is an LLM as crew.yaml has it. `list_path` lists jobs. `steps` are the requests by which a job is made and
    collected, in their order: for each a pattern of its method and path. `variables` lead to the mock, whose address is
    their `{root}`. `modules` are what commands import late; `discount` is what of the standard price jobs cost.
    """

    name: str
    llm: str
    list_path: str
    steps: Mapping[str, str]
    variables: Mapping[str, str]
    modules: tuple[str, ...] = ()
    discount: float = 0.5

    def env(self, base_url: str) -> dict[str, str]:
        """What a command needs to find a server at `base_url`, which ends in `/v1`."""
        root = base_url.removesuffix("/v1")
        variables = {name: value.format(root=root) for name, value in self.variables.items()}
        return {**variables, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def job_count(self, mock: MockProcess) -> int:
        """How many jobs the mock has made."""
        return mock.job_count(self.list_path)

    def __str__(self) -> str:
        return self.name


# One set, so that one process has them all.
_LITELLM: Final = (
    "litellm",
    "litellm.llms.anthropic.chat.handler",
    "litellm.llms.azure.azure",
    "litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini",
)
OPENAI: Final = JobWire(
    "openai",
    "gpt-4.1-mini",
    "/v1/batches",
    {
        "upload": "POST /v1/files$",
        "create": "POST /v1/batches$",
        "list": r"GET /v1/batches\?",
        "look": "GET /v1/batches/",
        "download": "GET /v1/files/",
    },
    {"OPENAI_BASE_URL": "{root}/v1", "OPENAI_API_KEY": "mock"},
)
ANTHROPIC: Final = JobWire(
    "anthropic",
    "anthropic/claude-haiku-4-5",
    "/v1/messages/batches",
    {
        "create": "POST /v1/messages/batches$",
        "list": r"GET /v1/messages/batches\?",
        "look": "GET /v1/messages/batches/[^/]+$",
        "download": "GET /v1/messages/batches/[^/]+/results$",
    },
    {"ANTHROPIC_API_BASE": "{root}", "ANTHROPIC_API_KEY": "mock"},
    _LITELLM,
)
AZURE: Final = JobWire(
    "azure",
    "azure/gpt-4.1-mini",
    "/openai/v1/batches",
    {
        "upload": "POST /openai/v1/files$",
        "create": "POST /openai/v1/batches$",
        "list": r"GET /openai/v1/batches\?",
        "look": "GET /openai/v1/batches/",
        "download": "GET /openai/v1/files/[^/]+/content$",
    },
    {"AZURE_API_BASE": "{root}", "AZURE_API_KEY": "mock"},
    _LITELLM,
)
AZURE_BY_VERSION: Final = AZURE._replace(
    name="azure by version", llm="{model: azure/gpt-4.1-mini, api_version: '2024-10-21'}", steps={}
)
TOGETHER: Final = JobWire(
    "together",
    "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "/together/v1/batches",
    {
        "upload": "POST /together/v1/files/upload$",
        "create": "POST /together/v1/batches$",
        "list": r"GET /together/v1/batches\?",
        "look": "GET /together/v1/batches/",
        "download": "GET /together/v1/files/[^/]+/content$",
    },
    {"TOGETHER_AI_API_BASE": "{root}/together/v1", "TOGETHER_API_KEY": "mock"},
)
MISTRAL: Final = JobWire(
    "mistral",
    "mistral/mistral-small-latest",
    "/v1/batch/jobs",
    {
        "upload": "POST /v1/files$",
        "create": "POST /v1/batch/jobs$",
        "list": r"GET /v1/batch/jobs\?",
        "look": "GET /v1/batch/jobs/",
        "download": "GET /v1/files/",
    },
    {"MISTRAL_API_BASE": "{root}/v1", "MISTRAL_API_KEY": "mock"},
)
GEMINI: Final = JobWire(
    "gemini",
    "gemini/gemini-2.5-flash",
    "/v1beta/batches",
    {
        "upload": r"POST /upload/v1beta/files\?",
        "create": "POST /v1beta/models/[^/]+:batchGenerateContent$",
        "list": r"GET /v1beta/batches\?",
        "look": "GET /v1beta/batches/",
        "download": "GET /download/v1beta/files/",
    },
    {"GEMINI_API_BASE": "{root}/v1beta", "GEMINI_API_KEY": "mock"},
    _LITELLM,
)
JOB_WIRES: Final = [OPENAI, ANTHROPIC, AZURE, TOGETHER, MISTRAL, GEMINI]
