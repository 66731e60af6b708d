"""How the batch jobs of providers with OpenAI's endpoints differ from OpenAI's, as data for `openai_api`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from crewrun.llm.batch_jobs.job import JobLimits

_CHAT: Final = "/v1/chat/completions"  # in jobs, also where the address of live calls has another prefix


@dataclass(frozen=True, slots=True)
class OpenAIWire:
    """One provider's variant.

    Attributes:
        limits: of one job.
        upload_path: where files of lines go.
        purpose: what their form says they are for.
        has_file_name: whether the form says the file's name in a field of its own too.
        endpoint: what a new job says that its lines call.
        line: the fields of a line before its body and custom id.
        window: what a new job says about its time.
        takes_metadata: whether it may say more of itself.
        waits_for_file: whether a job can only be made of a file that the provider has processed.
        names_files: whether a job that says no metadata is recognised by its file, whose name is the intent.
        counts: whether a job says how many of its requests have ended; else it has a percentage.
    """

    limits: JobLimits
    upload_path: str = "/files"
    purpose: str = "batch"
    has_file_name: bool = False
    endpoint: str = _CHAT
    line: Mapping[str, str] = field(default_factory=lambda: {"method": "POST", "url": _CHAT})
    window: Mapping[str, str] = field(default_factory=lambda: {"completion_window": "24h"})
    takes_metadata: bool = True
    waits_for_file: bool = False
    names_files: bool = False
    counts: bool = True


# https://platform.openai.com/docs/guides/batch: 50,000 requests and 200 MB; a little less, for what we do not count.
OPENAI: Final = OpenAIWire(JobLimits(50_000, 190 * 1000 * 1000))

# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch: 100,000 requests and 200 MB. `metadata` is null in
# its examples. A file has to be `processed`: https://github.com/openai/openai-dotnet/issues/312. The examples for the
# address /openai/v1 have lines for /v1/chat/completions in a job for /chat/completions, those for an api-version have
# the latter in both.
AZURE: Final = OpenAIWire(
    JobLimits(100_000, 190 * 1000 * 1000), endpoint="/chat/completions", waits_for_file=True, names_files=True
)
AZURE_BY_VERSION: Final = replace(AZURE, line={"method": "POST", "url": AZURE.endpoint})

# https://docs.together.ai/docs/inference/batch/overview: 50,000 requests and 100 MB. A job has neither metadata nor
# counts, but `input_file_id` and `progress`, from 0 to 100; the window is 24 hours, whatever is said.
TOGETHER: Final = OpenAIWire(
    JobLimits(50_000, 95 * 1000 * 1000),
    upload_path="/files/upload",
    purpose="batch-api",
    has_file_name=True,
    line={},
    window={},
    takes_metadata=False,
    names_files=True,
    counts=False,
)
