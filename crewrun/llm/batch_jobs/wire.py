"""What a call is as a line of a batch job, and what the line's result is as a completion.

The body is that of a live call, and a result is read as the reply to one. A job has the price of its tier, whatever the
replies in it call theirs.
"""

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

from pydantic_core import from_json, to_json

from crewrun.errors import CallError, ModelRefused
from crewrun.limits.estimates import believable
from crewrun.llm.batch_jobs import accounts
from crewrun.llm.batch_jobs.job import BatchApi, Line, LineEnd, LineResult
from crewrun.llm.prices.price import BATCH
from crewrun.llm.transports.chat_json import read_completion
from crewrun.llm.transports.http_errors import failure
from crewrun.llm.transports.registry import Transports
from crewrun.messages import ChatRequest, Completion, Endpoint, Usage

if TYPE_CHECKING:
    from crewrun.llm.transports.litellm.transport import LitellmTransport


def no_jobs_here() -> ModelRefused:
    """What a call at the tier `batch` raises where there are no batch jobs."""
    return ModelRefused(
        "batch jobs are made by crewrun batch, with a run folder, and not for code that holds its event loop or runs "
        "elsewhere; say `tier: standard` here"
    )


def open_api(endpoint: Endpoint) -> BatchApi:
    """The batch jobs of the account of `endpoint`. Call it in a running asyncio loop."""
    from crewrun.llm.batch_jobs.anthropic_api import AnthropicBatches
    from crewrun.llm.batch_jobs.http import JobsHttp
    from crewrun.llm.batch_jobs.mistral_api import MistralBatches
    from crewrun.llm.batch_jobs.openai_api import OpenAIBatches
    from crewrun.llm.batch_jobs.openai_wires import AZURE, AZURE_BY_VERSION, OPENAI, TOGETHER

    account = accounts.account_of(endpoint)
    if endpoint.provider == accounts.GEMINI:
        from crewrun.llm.batch_jobs.gemini_api import GeminiBatches

        root, _, version = account.base_url.rpartition("/")
        return GeminiBatches(JobsHttp(root, account.headers), endpoint.model, version)
    http = JobsHttp(account.base_url, account.headers, account.query)
    match accounts.jobs_of(endpoint):
        case accounts.ANTHROPIC:
            return AnthropicBatches(http)
        case accounts.MISTRAL:
            return MistralBatches(http, endpoint.model)
        case accounts.AZURE:
            return OpenAIBatches(http, AZURE_BY_VERSION if "api-version" in account.query else AZURE)
        case accounts.TOGETHER:
            return OpenAIBatches(http, TOGETHER)
    return OpenAIBatches(http, OPENAI)


async def line_of(request: ChatRequest, call_id: str, transports: Transports) -> Line:
    """The line for a request of the call that `call_id` identifies in the run."""
    line_id = blake2b(f"{call_id} {request.endpoint.name}".encode("utf-8", "surrogatepass"), digest_size=16)
    return Line(line_id.hexdigest(), await _body_of(request, transports))


async def _body_of(request: ChatRequest, transports: Transports) -> bytes:
    from crewrun.llm.transports.openai import body_of

    if request.endpoint.transport_name != "litellm":
        return body_of(request)
    body = from_json(await _litellm(transports).body_of(request))
    body.pop("stream", None)
    return to_json(body)


def _litellm(transports: Transports) -> "LitellmTransport":
    return cast("LitellmTransport", transports.of("litellm"))


async def read_result(result: LineResult, request: ChatRequest, transports: Transports) -> Completion:
    """The answer in a result. Raises the CallError that the reply to a live call would have raised."""
    if result.end is LineEnd.REFUSED:
        raise failure(result.status, result.body, {})
    try:
        if request.endpoint.transport_name == "litellm":
            completion = await _litellm(transports).read(result.body, request)
        else:
            completion = read_completion(result.body)
    except CallError as unusable:
        unusable.usage = _at_batch(unusable.usage)
        raise
    return believable(replace(completion, usage=_at_batch(completion.usage)), request)


def _at_batch(usage: Usage) -> Usage:
    return usage if usage.details is None else replace(usage, details=replace(usage.details, service_tier=BATCH))
