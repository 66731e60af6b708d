"""`--dry-run`: prints the plan of a batch."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.batch.cache_estimate import CacheEstimate
    from crewrun.batch.plan import Plan
    from crewrun.batch.row_estimate import Range, TierEstimate
    from crewrun.batch.settings import BatchSettings
    from crewrun.definitions.definition import Definition


def show_plan(
    inputs: str,
    definition: "Definition",
    settings: "BatchSettings",
    flag_origins: "Mapping[str, str]",
    stdout_fd: int,
    *,
    as_json: bool,
) -> None:
    """Print the plan of a batch; `flag_origins` as `plan_batch` takes them."""
    from crewrun.batch.plan import plan_batch
    from crewrun.batch.sink import StreamSink
    from crewrun.cli.setup import put_data, run_loop, tell

    made = run_loop(plan_batch, inputs, definition, settings, flag_origins)
    stdout = StreamSink(stdout_fd)
    if as_json:
        put_data(stdout, json.dumps(made.to_json(), indent=2))
    else:
        tell(stdout, lines(made))


def lines(plan: "Plan") -> list[str]:
    """The plan for a person to read."""
    from crewrun.cli.wording import count, money

    done = f", {plan.done:,} {'is' if plan.done == 1 else 'are'} done" if plan.done else ""
    report = [f"{count(plan.rows, 'row')} to run{done}", *(plan.repeat.lines() if plan.repeat is not None else ())]
    if plan.shard is not None:
        report.append(f"shard {plan.shard}: {plan.elsewhere:,} rows belong to other shards")
    if plan.failing_count:
        report.append(f"{count(plan.failing_count, 'row')} would fail before their first call:")
        report += [f"  {problem}" for problem in plan.failing]
        if plan.failing_count > len(plan.failing):
            report.append(f"  … and {plan.failing_count - len(plan.failing):,} more")
    report += [_model(model) for model in plan.models]
    if plan.calls and plan.prompt_tokens and plan.completion_tokens:
        report.append(f"calls: {_range(plan.calls, _whole)}")
        tokens = f"{_range(plan.prompt_tokens, _whole)} in, {_range(plan.completion_tokens, _whole)} out"
        report.append(f"tokens: {tokens}")
        report.append(f"cost: {_range(plan.cost_usd, money) if plan.cost_usd else 'unknown'}")
        report += [_tier(tier, part) for tier, part in plan.tiers.items()]
        if plan.prompt_cache is not None:
            report.append(_prompt_cache(plan.prompt_cache, plan.cost_usd))
        report.append(f"time: {_time(plan)}")
        last = f"taken from the last {plan.answers_known:,} of this run" if plan.answers_known else "a guess"
        report.append(f"the length of answers is {last}; --canary 100 measures it")
    report += plan.notes
    return [*report, "no model was called"]


def _model(model: dict[str, Any]) -> str:
    from crewrun.batch.model_origins import at_in_words

    by = f" ({model['name_from']})" if "name_from" in model else ""
    at = at_in_words(model.get("address"), model.get("address_from"))
    return f"model {model['name']}{by}{at}{'' if model['price_known'] else ': price not known'}"


def _time(plan: "Plan") -> str:
    from crewrun.cli.wording import duration

    if plan.waves is not None:
        jobs = "1 batch job" if plan.waves.low == plan.waves.high == 1 else f"{_range(plan.waves, _whole)} batch jobs"
        return f"{jobs} one after the other, each of them answered within 24 h, usually sooner"
    return _range(plan.duration_s, duration) if plan.duration_s else "unknown"


def _tier(tier: str, part: "TierEstimate") -> str:
    from crewrun.cli.wording import money

    calls = f"  at {tier}: {_range(part.calls, _whole)} calls"
    if part.cost_usd is None or part.standard_usd is None:
        return f"{calls}, cost unknown"
    saved = f", at standard {_range(part.standard_usd, money)}" if part.standard_usd != part.cost_usd else ""
    return f"{calls}, {_range(part.cost_usd, money)}{saved}"


def _prompt_cache(cached: "CacheEstimate", cost_usd: "Range | None") -> str:
    """What the provider's prompt cache is expected to have, and what the run costs with it; `cost_usd` is without."""
    from crewrun.cli.wording import money, share

    part = f"{share(cached.share)} of the tokens in"
    if cost_usd is None or not cached.saved_usd or cached.saved_usd < 0:
        return f"  with the prompt cache the same (it has about {part})"
    return f"  with the prompt cache about {money(max(cost_usd.mean - cached.saved_usd, 0.0))} ({part})"


def _range(amount: "Range", words: Callable[[Any], str]) -> str:
    low, mean, high = words(amount.low), words(amount.mean), words(amount.high)
    return mean if low == high else f"about {mean} ({low} to {high})"


def _whole(amount: float) -> str:
    return f"{round(amount):,}"
