"""`Settings`: the keyword arguments of `run_batch`, which are the flags of `crewrun batch`; and their checks."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from pydantic import ValidationError

from crewrun.batch.descriptors import descriptor_of
from crewrun.batch.settings import BatchSettings
from crewrun.batch_flags import InputFormat, ProgressStyle, ResultsFormat, batch_flags
from crewrun.definitions.batch_section import needed_at
from crewrun.definitions.problems import Value, explain
from crewrun.definitions.spec import BatchSpec
from crewrun.definitions.value_types import TAG
from crewrun.errors import UsageError, suggest
from crewrun.messages import PromptCacheUse, Tier

_PathLike = str | os.PathLike[str]
_Amount = str | float
_Time = str | float | timedelta


class Settings(TypedDict, total=False):
    """What `crewrun help flags` says of each, with `_` for `-`. None is the same as leaving one out."""

    limit: int | None
    offset: int | None
    shard: str | None
    format: InputFormat | None
    delimiter: str | None
    encoding: str | None
    sheet: str | int | None
    no_rows: Literal["fail", "warn"] | None
    id_field: str | None
    input: Mapping[str, Any] | None
    map: Mapping[str, str] | None
    fields: Sequence[str] | None
    strict: bool | None
    engine: Literal["crewrun", "crewai"] | None
    model: str | None
    base_url: str | None
    tier: Tier | None
    tier_patience: _Time | None
    prompt_cache: PromptCacheUse | None
    wave: int | None
    batch_delay: _Time | None
    poll: _Time | None
    detach: bool | None
    cancel_jobs: bool | None
    replay: bool | None
    cache: _PathLike | None
    cache_size: _Amount | None
    missing_tool_keys: Literal["fail", "warn"] | None
    output_format: ResultsFormat | None
    columns: Sequence[str] | None
    formula_guard: bool | None
    ordered: bool | None
    progress: ProgressStyle | None
    quiet: bool | None
    summary: _PathLike | None
    report: _PathLike | None
    notify: str | None
    log_prompts: bool | None
    otel: bool | None
    metrics: str | int | None
    max_concurrent: int | Literal["auto"] | None
    rpm: int | Mapping[str, int] | None
    tpm: int | Mapping[str, int] | None
    shared_limits: bool | None
    retries: int | None
    call_timeout: float | timedelta | None
    row_timeout: float | timedelta | None
    outage_patience: _Time | None
    deadline: _Time | datetime | None
    grace: float | timedelta | None
    fail_fast: bool | None
    max_failures: int | str | None
    budget: _Amount | None
    row_budget: _Amount | None
    price: Mapping[str, Sequence[float]] | None
    canary: int | None
    max_forecast: _Amount | None
    same_endpoint: bool | None
    fresh: bool | None
    run_dir: _PathLike | None
    lock: Literal["fail", "wait"] | None
    executor: str | None
    workers: int | Literal["auto"] | None
    worker_cpus: float | None
    env: Sequence[str] | None


def check_names(settings: Mapping[str, Any], function: str) -> TypeError | None:
    """What Python raises for a keyword argument that `function` does not take, None if it takes all of them."""
    names = list(batch_flags())
    wrong = next((name for name in settings if name not in names), None)
    if wrong is None:
        return None
    return TypeError(f"{function}() got an unexpected keyword argument {wrong!r}{suggest(wrong, names)}")


def checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `settings`, without those that are None, as a crew file's `batch:` has them. Raises UsageError."""
    values = {name: _plain(value) for name, value in settings.items() if value is not None}
    engine = values.pop("engine", None)
    try:
        BatchSpec.model_validate(values, strict=True)
    except ValidationError as invalid:
        raise UsageError("\n".join(_problem(error) for error in invalid.errors(include_url=False))) from None
    return values if engine is None else {**values, "engine": engine}


def merged(values: Mapping[str, Any], file: Mapping[str, Any]) -> BatchSettings:
    """The settings: `values` from `checked` over the crew file's `batch:`. Raises UsageError."""
    settings = BatchSettings.merge(values, file)
    settings.check()
    if settings.lock == "skip":
        raise UsageError("lock='skip': a program catches RunHeld instead")
    output = settings.output
    if output is not None and (output == "-" or descriptor_of(output) is not None or _is_special(output)):
        raise UsageError(f"output={output!r}: the results of a run are read again, so they go to a file")
    return settings


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _plain(value: Any) -> Any:
    """A value as a file has it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _problem(error: Any) -> str:
    path = tuple(key for key in error["loc"] if not (isinstance(key, str) and key.startswith(TAG)))
    needs, value = needed_at(path), Value(path, error["input"], repr(error["input"]))
    message = explain(error, value) if needs is None else f"needs to be {needs}, not {value}"
    return f"{'.'.join(map(str, path))}: {message}"
