"""`crewrun plan`: what a batch would do and take, found out without a call.

Prompts are counted as they would be sent, on a random sample of the rows. How long answers are is known from earlier
sessions of the run, else guessed; so are calls after the first where an agent has tools. A canary measures both.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import add, mul
from pathlib import Path
from typing import Any, NamedTuple

from crewrun.batch.canary import draw
from crewrun.batch.first_crew import FirstCrewFailed, make_crew
from crewrun.batch.locations import output_path, rows_opener, run_folder, spooled
from crewrun.batch.preflight import check_priced, make_gateway, moved_files, unused_names
from crewrun.batch.run_identity import identify
from crewrun.batch.settings import BatchSettings
from crewrun.batch.unsupported import check_supported
from crewrun.crew.crew import Crew
from crewrun.crew.task_run import Assignment, opening
from crewrun.definitions.definition import Definition
from crewrun.errors import InputInvalid, UsageError
from crewrun.inspect.run_so_far import RunSoFar, read_known, usual
from crewrun.limits.estimates import fewest_tokens, most_tokens
from crewrun.limits.limiter import LocalLimiters
from crewrun.llm.gateway import Gateway
from crewrun.messages import ChatRequest, Endpoint, Usage
from crewrun.row import Row
from crewrun.runs.folder import RunFolder
from crewrun.target import Target
from crewrun.worker import Worker, check_models, model_hints

SCHEMA = "crewrun.plan/1"

_SAMPLE = 200
_MAX_FAILING = 20


class Range(NamedTuple):
    """An amount as it usually is, and as low and as high as it mostly gets."""

    mean: float
    low: float
    high: float


# Tokens of an answer, seconds per token of it and before the first one, and calls of an agent that has tools.
_ANSWER = Range(300, 60, 1200)
_TOKEN_S = Range(0.015, 0.006, 0.04)
_FIRST_TOKEN_S = Range(0.8, 0.3, 3.0)
_TOOL_CALLS = Range(3, 1, 8)
_OFFLINE_S = Range(0.01, 0.0, 0.05)


@dataclass(slots=True)
class Plan:
    """`rows` are to be run, `done` were before, `elsewhere` are in other shards than `shard`. What they take is None
    where nobody can say before it happens; costs are in US dollars, times in seconds.
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
    duration_s: Range | None = None
    answers_known: int = 0
    notes: list[str] = field(default_factory=list)

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
            "duration_s": _json(self.duration_s, 1),
            "answers_known": self.answers_known,
            "notes": self.notes,
        }


class _Sums(NamedTuple):
    """What one row takes."""

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range | None
    duration_s: Range

    def plus(self, other: "_Sums") -> "_Sums":
        """Both, one after the other."""
        return _Sums(
            _each(add, self.calls, other.calls),
            _each(add, self.prompt_tokens, other.prompt_tokens),
            _each(add, self.completion_tokens, other.completion_tokens),
            _sum(self.cost_usd, other.cost_usd),
            _each(add, self.duration_s, other.duration_s),
        )


async def plan_batch(inputs: str, definition: Definition, settings: BatchSettings) -> Plan:
    """Look at everything that a batch would begin with. Raises what `run_batch` raises before its first call."""
    settings.check()
    check_supported(settings, definition.target)
    gateway = make_gateway(settings, LocalLimiters(settings.limiter))
    part = settings.part
    output = output_path(inputs, settings.output, part)
    plan = Plan(shard=str(part) if part else None)
    endpoints = await check_models(definition.target, gateway)
    check_priced(settings.flag_that_needs_prices, definition.target, endpoints, gateway)
    folder = run_folder(output, settings)
    identity = identify(definition, endpoints, settings.input)
    known = _known(folder, identity.definition) if not settings.fresh else RunSoFar()
    worker = Worker(definition.target, gateway)
    with ExitStack() as files:
        readable = spooled(inputs, files)
        open_rows = rows_opener(readable, settings)

        def is_due(row: Row) -> bool:
            if part and not part.has(row):
                plan.elsewhere += 1
                return False
            if known.is_done(row):
                plan.done += 1
                return False
            if problem := worker.problem(row):
                plan.failing_count += 1
                plan.failing += [problem] if len(plan.failing) < _MAX_FAILING else []
                return False
            return True

        sample = await draw(open_rows(), _SAMPLE, is_due)
    if settings.strict and plan.failing_count:
        listed = "\n".join(plan.failing)
        raise UsageError(f"{inputs}: {plan.failing_count} rows cannot be run (--strict)\n{listed}")
    plan.rows = sample.total
    target = await _crew_of(definition.target, sample.rows, plan)
    if target is not definition.target:
        endpoints = await check_models(target, gateway)
        check_priced(settings.flag_that_needs_prices, target, endpoints, gateway)
    _tell_models(plan, target, endpoints, gateway, settings)
    names = {endpoint.name for endpoint in endpoints}
    plan.answers_known = sum(len(answers.tokens) for (model, _), answers in known.answers.items() if model in names)
    if target.crew is not None:
        _foresee(plan, sample.rows, _Estimator(target.crew, gateway, known), settings)
    else:
        plan.notes.append("what the calls of this target are is known when they are made: --canary 20 measures it")
    return plan


async def _crew_of(target: Target, rows: Sequence[Row], plan: Plan) -> Target:
    """The target, or where each row has a crew of its own that of one of `rows`, which stands for all."""
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


def _tell_models(
    plan: Plan, target: Target, endpoints: Sequence[Endpoint], gateway: Gateway, settings: BatchSettings
) -> None:
    plan.models = [
        {"name": endpoint.name, "price_known": gateway.price(endpoint) is not None} for endpoint in endpoints
    ]
    plan.notes += [*unused_names(settings, target, endpoints), *moved_files(target)]
    plan.notes += [f"warning: {hint}" for hint in model_hints(endpoints)]
    plan.notes += [f"warning: {missing}" for missing in target.missing_tool_keys]


def _known(folder: RunFolder | None, definition: str) -> RunSoFar:
    if folder is None or not Path(folder.journal).is_file():
        return RunSoFar()
    return read_known(folder.journal, definition)


def _foresee(plan: Plan, rows: list[Row], estimator: "_Estimator", settings: BatchSettings) -> None:
    """Fill in what the rows take, from what those of the sample would."""
    found = []
    for row in rows:
        try:
            found.append(estimator.row(row))
        except InputInvalid as invalid:
            plan.failing_count += 1
            plan.failing += [f"line {row.line}: {invalid}"] if len(plan.failing) < _MAX_FAILING else []
    if not found:
        return
    each = plan.rows / len(found)
    plan.calls = _total([sums.calls for sums in found], each)
    plan.prompt_tokens = _total([sums.prompt_tokens for sums in found], each)
    plan.completion_tokens = _total([sums.completion_tokens for sums in found], each)
    costs = [sums.cost_usd for sums in found if sums.cost_usd is not None]
    if len(costs) == len(found):
        plan.cost_usd = _total(costs, each)
    else:
        plan.notes.append(_price_note(estimator.unpriced))
    at_once = min(settings.rows_at_once, plan.rows)
    work_s = _total([sums.duration_s for sums in found], each / at_once)
    row_s = _total([sums.duration_s for sums in found], 1 / len(found))
    plan.duration_s = _each(max, work_s, row_s, _limited(plan, settings))
    if estimator.uses_tools:
        plan.notes.append("agents with tools make as many calls as they like: the ranges say 1 to 8 for each task")


def _price_note(models: Iterable[str]) -> str:
    flags = " ".join(f"--price {model}=IN,OUT" for model in models)
    return f"the price of a model is not known; give it in US dollars per million tokens: {flags}"


def _limited(plan: Plan, settings: BatchSettings) -> Range:
    """How long the limits that are known make it last."""
    limited_s = Range(0.0, 0.0, 0.0)
    limiter = settings.limiter
    tokens = _sum(plan.prompt_tokens, plan.completion_tokens)
    for limits, amount in ((limiter.rpm, plan.calls), (limiter.tpm, tokens)):
        if limits and amount is not None:
            # Of several models nobody knows which one takes how much: all their limits together.
            per_s = sum(limits.values()) / 60
            limited_s = _each(max, limited_s, Range(*(end / per_s for end in amount)))
    return limited_s


class _Estimator:
    """What rows of one crew take."""

    def __init__(self, crew: Crew, gateway: Gateway, known: RunSoFar) -> None:
        self._crew = crew
        self._gateway = gateway
        self._known = known
        self.uses_tools = False
        self.unpriced: dict[str, None] = {}  # models whose price is not known, in order

    def row(self, row: Row) -> _Sums:
        """One row. Raises InputInvalid as its kickoff would."""
        total: _Sums | None = None
        answers: list[Range] = []
        for assignment in self._crew.assignments(row.inputs or {}, self._gateway, reads_files=False):
            endpoint = self._gateway.endpoint(assignment.agent.model)
            answer = self._answer(endpoint, assignment.name)
            task = self._task(assignment, endpoint, answer, answers)
            answers.append(answer)
            total = task if total is None else total.plus(task)
        if total is None:
            raise UsageError("the crew has no tasks")
        return total

    def _task(self, assignment: Assignment, endpoint: Endpoint, answer: Range, earlier: list[Range]) -> _Sums:
        seen = earlier if assignment.task.context is None else earlier[: len(assignment.task.context)]
        context = _total(seen, 1.0) if seen else Range(0, 0, 0)
        prompt = opening(assignment, "")
        tools = assignment.toolbox.specs
        schema = assignment.schema.wire if assignment.schema else None
        fixed = fewest_tokens(ChatRequest(endpoint, prompt.messages(), tools, schema))
        self.uses_tools = self.uses_tools or bool(tools)
        calls = _TOOL_CALLS if tools else Range(1, 1, 1)
        prompt_of_each = _each(add, Range(fixed, fixed, fixed), context)
        prompts, completions = _each(mul, calls, prompt_of_each), _each(mul, calls, answer)
        price = self._gateway.price(endpoint)
        cost = None
        if price is None:
            self.unpriced[endpoint.model] = None
        else:
            usages = (Usage(round(p), 0, round(c)) for p, c in zip(prompt_of_each, answer, strict=True))
            cost = _each(mul, calls, Range(*map(price.cost, usages)))
        return _Sums(calls, prompts, completions, cost, self._time(endpoint, assignment.name, calls, answer))

    def _answer(self, endpoint: Endpoint, task: str) -> Range:
        answers = self._known.answers.get((endpoint.name, task))
        if answers:
            return Range(*usual(answers.tokens))
        most = most_tokens(endpoint)
        return _ANSWER if most is None else Range(*(min(end, most) for end in _ANSWER))

    def _time(self, endpoint: Endpoint, task: str, calls: Range, answer: Range) -> Range:
        answers = self._known.answers.get((endpoint.name, task))
        if answers:
            each = Range(*usual(answers.seconds))
        elif endpoint.transport_name == "offline":
            each = _OFFLINE_S
        else:
            each = _each(add, _FIRST_TOKEN_S, _each(mul, answer, _TOKEN_S))
        return _each(mul, calls, each)


def _each(what: Callable[..., float], *ranges: Range) -> Range:
    return Range(*(what(*ends) for ends in zip(*ranges, strict=True)))


def _sum(one: Range | None, two: Range | None) -> Range | None:
    return _each(add, one, two) if one is not None and two is not None else None


def _total(ranges: Sequence[Range], times: float) -> Range:
    return Range(*(times * sum(column) for column in zip(*ranges, strict=True)))


def _json(interval: Range | None, digits: int) -> dict[str, float] | None:
    if interval is None:
        return None
    return {name: round(value, digits) if digits else round(value) for name, value in interval._asdict().items()}
