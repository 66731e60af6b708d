"""`crewrun mock`: the flags of the mock server; the server itself is in `crewrun.mock`."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from crewrun.mock.settings import Settings

T = TypeVar("T")
Switch = Literal["on", "off"]


def _seconds(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise typer.BadParameter("needs to be a number of seconds from 0")
    return seconds


def mock(
    *,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8123,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds until every answer.", callback=_seconds)
    ] = 0.0,
    jitter: Annotated[
        float, typer.Option(metavar="SECONDS", help="Up to this many seconds more, at random.", callback=_seconds)
    ] = 0.0,
    fail: Annotated[str | None, typer.Option(metavar="RATE:STATUS", help="Fail at random, such as 0.1:500.")] = None,
    rpm: Annotated[int | None, typer.Option(metavar="N", min=1, help="Limit of requests per minute.")] = None,
    tpm: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Limit of tokens per minute, prompts and answers.")
    ] = None,
    limit_headers: Annotated[
        bool, typer.Option("--limit-headers/--no-limit-headers", help="Tell the limits in headers, or keep them quiet.")
    ] = True,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Repeat the random failures and jitter of a run.")
    ] = None,
    reply: Annotated[str | None, typer.Option(metavar="TEXT", help="Answer every request with this.")] = None,
    tools: Annotated[Switch, typer.Option(help="Take requests with tools, or refuse them.")] = "on",
    schemas: Annotated[Switch, typer.Option(help="Take requests with a response_format, or refuse them.")] = "on",
    flex_full: Annotated[
        str | None, typer.Option(metavar="RATE[:STATUS]", help="Refuse this share of calls at the tier flex: 0.5:498.")
    ] = None,
    prompt_cache: Annotated[Switch, typer.Option(help="Have a prompt cache as the providers do, or none.")] = "on",
    batch_latency: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds that a batch job takes.", callback=_seconds)
    ] = 1.0,
    batch_fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="What goes wrong with batch jobs, such as lost-lines=0.1."),
    ] = None,
) -> None:
    """Serve a mock of OpenAI's, Anthropic's and Gemini's APIs, which costs nothing and fails on demand.

    A word in a prompt makes its request fail: FAIL-500 (or any 4xx, 5xx), FAIL-ONCE, FAIL-ONCE-503, FAIL-QUOTA,
    FAIL-HANG, FAIL-CUT, FAIL-GARBAGE, FAIL-EMPTY, FAIL-LENGTH.

    Offered tools, it asks for the first one and then answers; CALL-<tool>, CALL-ALL, CALL-FOREVER, CALL-NONE,
    CALL-BAD-ARGS and CALL-NOT-JSON change that. Given a schema, it answers with JSON that fits; JSON-INVALID,
    JSON-INVALID-ONCE and JSON-PROSE change that.

    GET /ledger tells what came and what it would cost; rate_limited counts the 429s of --rpm and --tpm. PUT /limits
    with {"rpm": 300, "tpm": null} changes the limits during a run.

    Batch jobs go by a clock of the mock's own: POST /clock with {"advance_s": 3600} moves it. PUT /batch-faults changes
    what goes wrong with them. All of it: `crewrun help mock-server`.
    """
    from crewrun.mock.faults import RandomFault
    from crewrun.mock.job_faults import parse_fault
    from crewrun.mock.settings import Settings

    settings = Settings(
        host=host,
        port=port,
        latency_s=latency,
        jitter_s=jitter,
        fail=None if fail is None else _read("--fail", RandomFault.parse, fail),
        rpm=rpm,
        tpm=tpm,
        limit_headers=limit_headers,
        seed=seed,
        reply=reply,
        tools=tools == "on",
        schemas=schemas == "on",
        flex=None if flex_full is None else _read("--flex-full", RandomFault.parse_flex, flex_full),
        prompt_cache=prompt_cache == "on",
        batch_latency_s=batch_latency,
        batch_faults=dict(_read("--batch-fault", parse_fault, text) for text in batch_fault or ()),
    )
    _serve(settings)


def _read(flag: str, parse: Callable[[str], T], text: str) -> T:
    from crewrun.errors import UsageError

    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from error


def _serve(settings: "Settings") -> None:
    from crewrun.errors import UsageError
    from crewrun.mock.server import serve
    from crewrun.terminal import complain

    try:
        serve(settings, _announce)
    except UsageError as error:
        complain(str(error), "crewrun mock")
        raise typer.Exit(error.exit_code) from error


def _announce(base_url: str) -> None:
    from crewrun.llm.offline_model import directives
    from crewrun.mock import faults
    from crewrun.terminal import announce, say

    announce(f"crewrun mock: listening on {base_url}")
    say(f"OPENAI_BASE_URL={base_url} OPENAI_API_KEY=mock crewrun batch ...")
    address = base_url.removesuffix("/v1")
    say(f"ANTHROPIC_BASE_URL={address} ANTHROPIC_API_KEY=mock crewrun batch ... -m anthropic/claude-haiku-4-5")
    say(f"Words in a prompt that make its request fail: {faults.WORDS}")
    say(f"Words that steer what it answers: {directives.WORDS}")
