"""The wires of batch jobs that the mock speaks, each with a model whose calls go over it.

Tests of what holds for batch jobs at any provider are parametrised by `JOB_WIRES`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from support.mock_process import MockProcess


class JobWire(NamedTuple):
    """How a provider's batch jobs are reached.

    `list_path` lists jobs. `steps` are the requests by which a job is made and collected, in their order: for each a
    pattern of its method and path. `address` and `key` are variables; with `is_bare_address` the address is without
    `/v1`. `modules` are what commands import late.
    """

    name: str
    model: str
    list_path: str
    steps: Mapping[str, str]
    address: str
    key: str
    is_bare_address: bool = False
    modules: tuple[str, ...] = ()

    def env(self, base_url: str) -> dict[str, str]:
        """What a command needs to find a server at `base_url`, which ends in `/v1`."""
        address = base_url.removesuffix("/v1") if self.is_bare_address else base_url
        return {self.address: address, self.key: "mock", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def job_count(self, mock: MockProcess) -> int:
        """How many jobs the mock has made."""
        return mock.job_count(self.list_path)

    def __str__(self) -> str:
        return self.name


OPENAI = JobWire(
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
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
)
ANTHROPIC = JobWire(
    "anthropic",
    "anthropic/claude-haiku-4-5",
    "/v1/messages/batches",
    {
        "create": "POST /v1/messages/batches$",
        "list": r"GET /v1/messages/batches\?",
        "look": "GET /v1/messages/batches/[^/]+$",
        "download": "GET /v1/messages/batches/[^/]+/results$",
    },
    "ANTHROPIC_API_BASE",
    "ANTHROPIC_API_KEY",
    is_bare_address=True,
    modules=("litellm", "litellm.llms.anthropic.chat.handler"),
)
JOB_WIRES = [OPENAI, ANTHROPIC]
