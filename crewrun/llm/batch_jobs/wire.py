"""What a call is as a line of a batch job, and what the line's result is as a completion.

The body is that of a live call, and a result is read as the reply to one. A job has the price of its tier, whatever the
replies in it call theirs.
"""

from dataclasses import replace
from hashlib import blake2b
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from crewrun.errors import CallError, ModelRefused
from crewrun.limits.estimates import believable
from crewrun.llm.batch_jobs.job import BatchApi, Line, LineEnd, LineResult
from crewrun.llm.prices.price import BATCH
from crewrun.llm.transports.chat_json import read_completion
from crewrun.llm.transports.http_errors import failure
from crewrun.messages import ChatRequest, Completion, Endpoint, Usage


def no_jobs_here() -> ModelRefused:
    """What a call at the tier `batch` raises where there are no batch jobs."""
    return ModelRefused(
        "batch jobs are made by crewrun batch, with a run folder, and not for code that holds its event loop or runs "
        "elsewhere; say `tier: standard` here"
    )


def open_api(endpoint: Endpoint) -> BatchApi:
    """The batch jobs of the account of `endpoint`. Call it in a running asyncio loop."""
    from crewrun.llm.batch_jobs.http import JobsHttp
    from crewrun.llm.batch_jobs.openai_api import OpenAIBatches

    parts = urlsplit(endpoint.base_url or "")
    headers = dict(endpoint.headers)
    if endpoint.api_key and "@" not in parts.netloc and "authorization" not in map(str.lower, headers):
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    base_url = urlunsplit(parts._replace(query=""))
    return OpenAIBatches(
        JobsHttp(base_url, headers, {**dict(parse_qsl(parts.query)), **endpoint.query}), endpoint.provider
    )


def line_of(request: ChatRequest, call_id: str) -> Line:
    """The line for a request of the call that `call_id` identifies in the run."""
    from crewrun.llm.transports.openai import body_of

    line_id = blake2b(f"{call_id} {request.endpoint.name}".encode("utf-8", "surrogatepass"), digest_size=16)
    return Line(line_id.hexdigest(), body_of(request))


def read_result(result: LineResult, request: ChatRequest) -> Completion:
    """The answer in a result. Raises the CallError that the reply to a live call would have raised."""
    if result.end is LineEnd.REFUSED:
        raise failure(result.status, result.body, {})
    try:
        completion = read_completion(result.body)
    except CallError as unusable:
        unusable.usage = _at_batch(unusable.usage)
        raise
    return believable(replace(completion, usage=_at_batch(completion.usage)), request)


def _at_batch(usage: Usage) -> Usage:
    return usage if usage.details is None else replace(usage, details=replace(usage.details, service_tier=BATCH))
