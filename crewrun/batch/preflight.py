"""Checks before a batch begins: they raise UsageError for what would otherwise go wrong in the middle of a run."""

import time
from collections.abc import Sequence
from datetime import datetime

from crewrun.aio.open_files import raise_file_limit
from crewrun.batch.settings import BatchSettings
from crewrun.batch.shard import Shard
from crewrun.batch.source import Source, TableSource
from crewrun.crew.kickoff import TRIGGER_PAYLOAD
from crewrun.errors import UsageError, suggest
from crewrun.limits.budget import Budget
from crewrun.limits.capacity import Patience
from crewrun.limits.high_water import HighWaterMark
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.cache import AnswerCache
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.messages import Endpoint, Usage
from crewrun.row import Row
from crewrun.run_files import FILES_SUFFIX
from crewrun.runs.state import RunState
from crewrun.tables.reading.input_options import InputOptions
from crewrun.target import Target
from crewrun.templates import alike
from crewrun.worker import Worker

_STRICT_EXAMPLES = 20
_OWN_FILES = 64  # files that a run has open beside a socket for each row; 24 with the offline model
# Providers at which users name the models themselves.
_OF_DEPLOYMENTS = frozenset({"azure", "azure_ai", "bedrock", "sagemaker", "databricks"})


def make_gateway(settings: BatchSettings, limiters: LocalLimiters, cache: AnswerCache | None = None) -> Gateway:
    """The gateway of a run. Raises UsageError for prices that cannot be parsed."""
    deadline_s = settings.deadline_s(datetime.now().astimezone())
    options = GatewayOptions(
        retry=RetryPolicy(retries=settings.retries),
        call_timeout_s=settings.call_timeout,
        model=settings.model,
        base_url=settings.base_url,
        replay_only=settings.replay,
        prices=settings.prices,
        row_budget_usd=settings.row_budget_usd,
        tier=settings.tier,
        prompt_cache=settings.prompt_cache,
        patience=Patience(settings.tier_patience_s, None if deadline_s is None else time.time() + deadline_s),
    )
    return Gateway(options, limiters=limiters, cache=cache)


async def check_rows(name: str, source: Source, worker: Worker, shard: Shard | None) -> None:
    """`--strict`: read the whole input in advance. Raises UsageError with the first problems of rows in `shard`."""
    problems: list[str] = []
    count = 0

    def see(row: Row) -> None:
        nonlocal count
        if (shard is None or shard.has(row)) and (problem := worker.problem(row)):
            count += 1
            if len(problems) < _STRICT_EXAMPLES:
                problems.append(problem)

    await source.visit(see)
    if problems:
        more = f"\n… and {count - len(problems)} more" if count > len(problems) else ""
        listed = "\n".join(problems)
        raise UsageError(f"{name}: {count} rows cannot be run (--strict); nothing was sent\n{listed}{more}")


def input_notes(source: TableSource, name: str, settings: BatchSettings) -> list[str]:
    """What to say about an input that has been started, which messages call `name`: how it is read, if that is not what
    its name says, and that it has no rows. Raises UsageError for that with --no-rows fail.
    """
    notes = [f"{name}: {', '.join(source.notes)}"] if source.notes else []
    if source.has_rows:
        return notes
    if settings.no_rows == "fail":
        raise UsageError(f"{name}: has no rows (--no-rows fail)")
    return [*notes, f"warning: {name}: has no rows"]


def check_priced(flag: str | None, target: Target, endpoints: Sequence[Endpoint], gateway: Gateway) -> None:
    """Raise UsageError when `flag` (None: no flag) needs prices that are unknown for the calls of `target`."""
    if flag is None:
        return
    if target.uncounted_reason is not None:
        raise UsageError(f"{flag}: cannot hold for this target. {target.uncounted_reason}")
    for endpoint in endpoints:
        if gateway.price(endpoint) is None:
            why = f": no price is published for its base_model {endpoint.base_model!r}" if endpoint.base_model else ""
            is_own_name = endpoint.provider in _OF_DEPLOYMENTS and not endpoint.base_model
            raise UsageError(
                f"{flag}: the price of {endpoint.name} is not known{why}; "
                f"give it in US dollars per million tokens: --price {endpoint.model}=IN,OUT"
                f"{', or name the model behind it as base_model of its llm' if is_own_name else ''}"
            )


def unused_inputs(options: InputOptions, target: Target) -> list[str]:
    """Warnings for inputs for all rows, and for those from columns of other names, that no text of the crew uses, where
    no code can read them either.
    """
    if target.readable_inputs is None:
        return []
    names = sorted(target.readable_inputs)
    forms = {alike(name) for name in names}
    return [
        f"{flag} {name}: no text of the crew has {{{name}}}{suggest(name, names)}"
        for flag, inputs in (("-i", options.constants), ("--map", options.map))
        for name in sorted(inputs.keys() - {TRIGGER_PAYLOAD})
        if alike(name) not in forms
    ]


def unused_names(settings: BatchSettings, target: Target, endpoints: Sequence[Endpoint]) -> list[str]:
    """Warnings for models that `--rpm`, `--tpm` or `--price` name and no agent calls, where all calls are known; and
    for inputs for all rows that are not used.
    """
    return [
        *(f"warning: {unused}" for unused in unused_inputs(settings.input_options, target)),
        *_unused_models(settings, target, endpoints),
    ]


def _unused_models(settings: BatchSettings, target: Target, endpoints: Sequence[Endpoint]) -> list[str]:
    if not target.has_known_models or all(endpoint.transport_name == "offline" for endpoint in endpoints):
        return []
    used = [name for endpoint in endpoints for name in (endpoint.name, endpoint.model)]
    limiter = settings.limiter
    return [
        f"warning: {flag} {name}: no agent of the crew calls that model{suggest(name, used)}"
        for flag, names in (("--rpm", limiter.rpm), ("--tpm", limiter.tpm), ("--price", settings.prices))
        for name in names
        if name and name not in used
    ]


def moved_files(target: Target) -> list[str]:
    """Warnings for absolute output files, which are written elsewhere: all rows would share the one path."""
    return [
        f"warning: output_file {file!r} is absolute, and would be one file for all rows; "
        f"in a batch each row has its own, RESULTS{FILES_SUFFIX}/<id>{file}"
        for file in target.absolute_output_files
    ]


async def open_budget(
    limit_usd: float, state: RunState | None, endpoints: Sequence[Endpoint], gateway: Gateway
) -> Budget:
    """The budget of a run, less what its earlier sessions spent. Raises UsageError when that is unknown."""
    if state is None:
        return Budget(limit_usd)
    in_all = await state.in_all()
    spent_usd, owed_usd = in_all["cost_usd"], in_all["owed_usd"]
    if spent_usd is None or owed_usd is None:
        raise UsageError("--budget: earlier calls of this run have no known price; --fresh starts over")
    before_usd = spent_usd + owed_usd
    mark = HighWaterMark(state.accounts.raise_high_water, max(0.0, limit_usd - before_usd))
    budget = Budget(limit_usd, before_usd, owed_usd, mark)
    prices = {endpoint.name: gateway.price(endpoint) for endpoint in endpoints}
    for model, task, tokens in await state.accounts.latest_answers():
        if price := prices.get(model):
            budget.learn((model, task), price.cost(Usage(completion_tokens=tokens)))
    return budget


def reserve_descriptors(settings: BatchSettings, endpoints: list[Endpoint]) -> None:
    """Raise the limit of open files to a socket per row in flight. Raises UsageError when the system forbids it."""
    if all(endpoint.transport_name == "offline" for endpoint in endpoints):
        return
    needed = settings.rows_at_once + _OWN_FILES
    allowed = raise_file_limit(needed)
    if allowed >= needed:
        return
    many = f"-j {settings.max_concurrent} {'may need' if settings.is_adaptive else 'needs'} {needed:,} open files"
    fitting = int(allowed) - _OWN_FILES
    advice = (
        f"use -j {fitting}, or raise that" if fitting > 0 else f"raise that, to {_OWN_FILES + 1} for one row at once"
    )
    raise UsageError(f"{many} and the system allows {allowed:,}; {advice} (ulimit -Hn, as root)")
