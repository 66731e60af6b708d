"""`crewrun plan`: what a batch would do and take, without making a call.

Prompts of a random sample of the rows are counted as they would be sent. The length of answers comes from earlier
sessions of the run, else it is guessed, and so is the number of calls where an agent has tools. A canary measures both.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from crewrun.batch.cache_estimate import CacheEstimate
from crewrun.batch.canary import Sample, draw
from crewrun.batch.definition_records import DefinitionRecord, PreviousRun, need_texts, other_records, previous_run
from crewrun.batch.first_crew import FirstCrewFailed, make_crew
from crewrun.batch.first_rows import read_first_rows, warnings_about
from crewrun.batch.jobs import note_of_open_jobs
from crewrun.batch.locations import is_pipe, output_path, rows_opener, run_folder, spooled
from crewrun.batch.model_origins import ModelOrigin, Origins
from crewrun.batch.offline_repeat import check_offline
from crewrun.batch.preflight import check_priced, input_notes, make_gateway, moved_files, unused_names
from crewrun.batch.repeat import Repeat, RepeatCounter
from crewrun.batch.row_estimate import (
    Range,
    RowEstimate,
    RowEstimator,
    TierEstimate,
    for_each_bound,
    scaled_sum,
    sum_by_tier,
    sum_of,
)
from crewrun.batch.run_identity import Identity, identify, past_of
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import input_name
from crewrun.batch.unsupported import check_supported
from crewrun.definitions.definition import Definition
from crewrun.errors import InputInvalid, UsageError
from crewrun.inspect.earlier_rows import EarlierRows
from crewrun.inspect.run_so_far import RunSoFar, read_known
from crewrun.inspect.view import has_begun
from crewrun.limits.local_limiters import LocalLimiters
from crewrun.llm.gateway import Gateway
from crewrun.llm.prices.price import BATCH
from crewrun.messages import Endpoint
from crewrun.row import Row
from crewrun.runs.folder import RunFolder
from crewrun.target import Target
from crewrun.tier_use import STANDARD
from crewrun.worker import Worker, check_models, model_hints

SCHEMA = "crewrun.plan/1"

_SAMPLE = 200  # rows whose prompts are composed: precision against the time that a plan takes
_MAX_FAILING = 20


@dataclass(slots=True)
class Plan:
    """`rows` would run, `done` are done already, `elsewhere` are in other shards than `shard`. Estimates are None where
    nothing is known in advance; costs are in US dollars, times in seconds. `prompt_cache` is what of the prompts comes
    from providers' caches, which costs do not assume. `waves` are how many batch jobs go one after the other; then
    there is no duration. `repeat` is None if no row has ended before.
    """

    rows: int = 0
    done: int = 0
    shard: str | None = None
    elsewhere: int = 0
    failing_count: int = 0
    failing: list[str] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    calls: Range | None = None
    prompt_tokens: Range | None = None
    completion_tokens: Range | None = None
    cost_usd: Range | None = None
    tiers: Mapping[str, TierEstimate] = field(default_factory=dict)
    prompt_cache: CacheEstimate | None = None
    duration_s: Range | None = None
    waves: Range | None = None
    answers_known: int = 0
    repeat: Repeat | None = None
    notes: list[str] = field(default_factory=list)

    def add_failing(self, problem: str) -> None:
        """Count a row that would fail; the first ones are kept as examples."""
        self.failing_count += 1
        if len(self.failing) < _MAX_FAILING:
            self.failing.append(problem)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "schema": SCHEMA,
            "rows": self.rows,
            "done": self.done,
            "shard": None if self.shard is None else {"part": self.shard, "elsewhere": self.elsewhere},
            "failing_count": self.failing_count,
            "failing_rows": self.failing,
            "models": self.models,
            "calls": _json(self.calls, 0),
            "prompt_tokens": _json(self.prompt_tokens, 0),
            "completion_tokens": _json(self.completion_tokens, 0),
            "cost_usd": _json(self.cost_usd, 6),
            **({"tiers": {tier: _tier_json(part) for tier, part in self.tiers.items()}} if self.tiers else {}),
            **({"prompt_cache": self.prompt_cache.to_json()} if self.prompt_cache is not None else {}),
            "duration_s": _json(self.duration_s, 1),
            **({"waves": _json(self.waves, 0)} if self.waves else {}),
            "answers_known": self.answers_known,
            "repeat": self.repeat.to_json() if self.repeat is not None else None,
            "notes": self.notes,
        }


async def plan_batch(
    inputs: str, definition: Definition, settings: BatchSettings, flag_origins: Mapping[str, str] = MappingProxyType({})
) -> Plan:
    """Check and estimate what a batch would do. Raises what `run_batch` raises before its first call.

    `flag_origins` says where `model` and `base_url` came from, where they are not from a file.
    """
    settings.check()
    check_supported(settings, definition.target)
    gateway = make_gateway(settings, LocalLimiters(replace(settings.limiter, shares=False)))
    output = output_path(inputs, settings.output, settings.part, settings.output_format)
    plan = Plan(shard=str(settings.part) if settings.part else None)
    if definition.defaults:
        plan.notes.append(f"defaults of flags from {definition.defaults}")
    endpoints = await _endpoints(definition.target, gateway, settings)
    folder = run_folder(output, settings)
    previous = None if settings.fresh else previous_run(folder)
    plan.notes += [] if settings.fresh else note_of_open_jobs(folder)
    identity = identify(
        definition, endpoints, settings.input_options, past_of(previous, folder) if settings.same_endpoint else None
    )
    columns = await _columns(inputs, settings, definition.target)
    past = _read_past(folder, previous, endpoints, identity, settings)
    counter = RepeatCounter(past.so_far, past.earlier_rows)
    sample = await _sample(plan, inputs, settings, counter, Worker(definition.target, gateway))
    if settings.strict and plan.failing_count:
        examples = "\n".join(plan.failing)
        raise UsageError(f"{inputs}: {plan.failing_count} rows cannot be run (--strict)\n{examples}")
    plan.rows = sample.total
    if not counter.is_first:
        now = identity.record(settings.input_options, with_texts=need_texts(past.records))
        crew = definition.target.crew
        plan.repeat = counter.result("all", past.records, now, crew=crew, is_paid=not settings.replay)
    target = await _crew_of(definition.target, sample.rows, plan)
    if target is not definition.target:
        endpoints = await _endpoints(target, gateway, settings)
    plan.notes += [f"warning: {warning}" for warning in warnings_about(columns, target, settings.input_options)]
    plan.models = _models(Origins(definition, gateway, flag_origins).of(target), endpoints, gateway)
    _add_hints(plan, target, endpoints, settings)
    names = {endpoint.name for endpoint in endpoints}
    plan.answers_known = sum(
        len(answers.tokens) for (model, _), answers in past.so_far.answers.items() if model in names
    )
    if target.crew is not None:
        _estimate(plan, sample.rows, RowEstimator(target.crew, gateway, past.so_far), settings)
    else:
        plan.notes.append("the calls of this target are only known when they are made: --canary 20 measures them")
    return plan


async def _columns(inputs: str, settings: BatchSettings, target: Target) -> tuple[str, ...]:
    """The columns of the first rows, as far as they can be read ahead. Raises UsageError if they do not fit."""
    if is_pipe(inputs):
        return ()
    first = await read_first_rows(rows_opener(inputs, settings)(), target, settings.input_options)
    first.check(inputs)
    return tuple(first.columns)


async def _endpoints(target: Target, gateway: Gateway, settings: BatchSettings) -> list[Endpoint]:
    endpoints = await check_models(target, gateway)
    check_priced(settings.flag_that_needs_prices, target, endpoints, gateway)
    return endpoints


async def _sample(plan: Plan, inputs: str, settings: BatchSettings, counter: RepeatCounter, worker: Worker) -> Sample:
    """A sample of the rows that are due. Rows that are not due are counted in the plan."""
    part = settings.part

    def is_due(row: Row) -> bool:
        if part and not part.has(row):
            plan.elsewhere += 1
            return False
        if counter.see(row):
            plan.done += 1
        elif problem := worker.problem(row):
            plan.add_failing(problem)
        else:
            return True
        return False

    with ExitStack() as files:
        readable = spooled(inputs, files)
        source = rows_opener(readable, settings, None if readable == inputs else input_name(inputs))()
        try:
            await source.start()
            plan.notes += input_notes(source, input_name(inputs), settings)
        except BaseException:
            source.release()
            raise
        return await draw(source, _SAMPLE, is_due)


async def _crew_of(target: Target, rows: Sequence[Row], plan: Plan) -> Target:
    """The target; where it makes a crew for each row, that of the first of `rows`, which stands for all."""
    if not target.makes_crews or not rows:
        return target
    try:
        crew = await make_crew(target, rows[0])
    except FirstCrewFailed as failed:
        plan.notes.append(f"warning: {failed}")
        return target
    if crew is None:
        return target
    plan.notes.append(f"each row has a crew of its own: that of line {rows[0].line} stands for all")
    return crew


def _models(origins: Sequence[ModelOrigin], endpoints: Sequence[Endpoint], gateway: Gateway) -> list[dict[str, Any]]:
    """Each model with its price and where it came from; one that no agent names, such as a flow's, by its name."""
    models = []
    for endpoint in endpoints:
        about = {"name": endpoint.name, "price_known": gateway.price(endpoint) is not None}
        of_it = [{**about, **origin.to_json()} for origin in origins if origin.name == endpoint.name]
        models += [one for one in of_it or [about] if one not in models]
    return models


def _add_hints(plan: Plan, target: Target, endpoints: Sequence[Endpoint], settings: BatchSettings) -> None:
    plan.notes += [*unused_names(settings, target, endpoints), *moved_files(target)]
    plan.notes += [f"warning: {hint}" for hint in model_hints(endpoints)]
    plan.notes += [f"warning: {missing}" for missing in target.missing_tool_keys]
    if target.has_servers:
        plan.notes.append("no MCP server was started: what models are told of its tools is not in the estimate")


class _Past(NamedTuple):
    """What a run's earlier sessions left: rows of the present definition, those of others, and the others' records."""

    so_far: RunSoFar
    earlier_rows: EarlierRows
    records: list[DefinitionRecord]


def _read_past(
    folder: RunFolder | None,
    previous: PreviousRun | None,
    endpoints: Sequence[Endpoint],
    identity: Identity,
    settings: BatchSettings,
) -> _Past:
    """Read it. Raises UsageError when a batch would not go on."""
    if folder is None or settings.fresh or not Path(folder.journal).is_file():
        return _Past(RunSoFar(), EarlierRows(), [])
    if previous is not None and not has_begun(folder, previous.manifest):
        return _Past(RunSoFar(), EarlierRows(), [])
    now, by_id = identity.definition, settings.id_field is not None
    check_offline(previous, folder, endpoints, now)
    return _Past(
        read_known(folder.journal, now, by_id=by_id),
        EarlierRows.load(folder.journal, now, by_id=by_id),
        other_records(previous, now),
    )


def _estimate(plan: Plan, rows: list[Row], estimator: RowEstimator, settings: BatchSettings) -> None:
    """Fill in what all rows take, from estimates for the sample."""
    estimates = []
    for row in rows:
        try:
            estimates.append(estimator.row(row))
        except InputInvalid as invalid:
            plan.add_failing(f"line {row.line}: {invalid}")
    if not estimates:
        return
    each = plan.rows / len(estimates)
    plan.calls = scaled_sum([estimate.calls for estimate in estimates], each)
    plan.prompt_tokens = scaled_sum([estimate.prompt_tokens for estimate in estimates], each)
    plan.completion_tokens = scaled_sum([estimate.completion_tokens for estimate in estimates], each)
    costs = [estimate.cost_usd for estimate in estimates if estimate.cost_usd is not None]
    if len(costs) == len(estimates):
        plan.cost_usd = scaled_sum(costs, each)
    else:
        plan.notes.append(_price_note(estimator.unpriced))
    tiers = sum_by_tier(estimate.tiers for estimate in estimates)
    if tiers.keys() - {STANDARD}:
        plan.tiers = {tier: _scaled(part, each) for tier, part in tiers.items()}
    if BATCH in plan.tiers:
        part = plan.tiers[BATCH]
        if part.cost_usd is not None and part.cost_usd == part.standard_usd:
            plan.notes.append(
                "the provider has no discount for this model in batch jobs: they cost as much as live calls"
            )
        plan.waves = _waves(plan.rows, estimates, settings)
    else:
        at_once = min(settings.rows_at_once, plan.rows)
        work_s = scaled_sum([estimate.duration_s for estimate in estimates], each / at_once)
        row_s = scaled_sum([estimate.duration_s for estimate in estimates], 1 / len(estimates))
        plan.duration_s = for_each_bound(max, work_s, row_s, _limited(plan, settings))
    plan.prompt_cache = estimator.cache.estimate(each, plan.prompt_tokens.mean)
    if estimator.uses_tools:
        plan.notes.append("agents with tools make as many calls as they like: the ranges say 1 to 8 for each task")


def _waves(rows: int, estimates: Sequence[RowEstimate], settings: BatchSettings) -> Range:
    """How many batch jobs go one after the other: the rows of a wave go on together, so as many as the row with the
    most calls makes.
    """
    calls = [estimate.tiers[BATCH].calls for estimate in estimates if BATCH in estimate.tiers]
    return Range(*(math.ceil(rows / settings.wave) * max(ends) for ends in zip(*calls, strict=True)))


def _scaled(part: TierEstimate, times: float) -> TierEstimate:
    calls, *costs = (None if amount is None else scaled_sum([amount], times) for amount in part)
    assert calls is not None  # noqa: S101  (only prices may be unknown)
    return TierEstimate(calls, *costs)


def _tier_json(part: TierEstimate) -> dict[str, Any]:
    costs = {"cost_usd": _json(part.cost_usd, 6), "standard_usd": _json(part.standard_usd, 6)}
    return {"calls": _json(part.calls, 0), **costs}


def _price_note(models: Iterable[str]) -> str:
    flags = " ".join(f"--price {model}=IN,OUT" for model in models)
    return f"the price of a model is not known; give it in US dollars per million tokens: {flags}"


def _limited(plan: Plan, settings: BatchSettings) -> Range:
    """How long the run takes at least under the known rate limits."""
    limited_s = Range(0.0, 0.0, 0.0)
    limiter = settings.limiter
    tokens = sum_of(plan.prompt_tokens, plan.completion_tokens)
    for limits, amount in ((limiter.rpm, plan.calls), (limiter.tpm, tokens)):
        if limits and amount is not None:
            # How the calls are divided among several models is unknown, so their limits are added up.
            per_s = sum(limits.values()) / 60
            limited_s = for_each_bound(max, limited_s, Range(*(end / per_s for end in amount)))
    return limited_s


def _json(interval: Range | None, digits: int) -> dict[str, float] | None:
    if interval is None:
        return None
    return {name: round(value, digits) if digits else round(value) for name, value in interval._asdict().items()}
