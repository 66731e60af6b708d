"""The settings of a batch, merged from flags, environment and crew file, and what their values mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crewrun.batch.amounts import address, dollars, per_model, prices, seconds, seconds_until, size_bytes
from crewrun.batch.field_flags import column_map, field_names
from crewrun.batch.shard import Shard
from crewrun.batch.stop import FailureLimit
from crewrun.batch_flags import BatchFlags, batch_flags
from crewrun.errors import UsageError
from crewrun.executors.run_spec import WorkerOptions
from crewrun.limits.options import MAX_CALLS, LimiterOptions
from crewrun.llm.prices.price import Price
from crewrun.monitoring.run_telemetry import TelemetryOptions
from crewrun.tables.reading.input_options import InputOptions


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)  # inherited: generating them takes time
class BatchSettings(BatchFlags):
    """The flags, with properties for what their values mean, named by the plural or with the unit.

    The fields have the values as the user wrote them, which is how the manifest stores them.
    """

    @classmethod
    def merge(cls, flags: Mapping[str, Any], file: Mapping[str, Any]) -> "BatchSettings":
        """`flags` and the environment (None where there is neither) over the crew file's `batch:` over the defaults."""
        merged = {name: value for name, value in file.items() if name in batch_flags()}
        if flags.get("max_failures") is not None or flags.get("fail_fast") is not None:
            # Both set the same limit, so a flag for either one overrides both keys of the file.
            merged.pop("max_failures", None)
            merged.pop("fail_fast", None)
        merged.update({name: value for name, value in flags.items() if value is not None})
        if "input" in merged:
            merged["input"] = {**file.get("input", {}), **merged["input"]}
        if "fields" in merged:
            merged["fields"] = field_names(merged["fields"])
        if "map" in merged:
            merged["map"] = {**column_map(file.get("map", {})), **column_map(merged["map"])}
        return cls(**merged)

    def check(self) -> None:
        """Raise UsageError for invalid settings and for combinations that make no sense."""
        self.failure_limit, self.limiter, self.prices, self.row_budget_usd, self.budget_usd, self.cache_bytes, self.part  # noqa: B018  (each may raise)
        self.worker_options, self.input_options, self.tier_patience_s, self.poll_s, self.batch_delay_s  # noqa: B018  (these too)
        self.metrics_address  # noqa: B018  (and this)
        if self.max_forecast_usd is not None and not self.canary:
            raise UsageError("--max-forecast: the forecast comes from a canary; add --canary 100")
        if self.wave < 1:
            raise UsageError("--wave 0: at least one row has to run; the default is 10000")
        if self.fresh and self.replay:
            raise UsageError("--fresh --replay: a run that starts over has nothing to replay; leave one out")

    @property
    def input_options(self) -> InputOptions:
        """How the input is read."""
        return InputOptions(
            id_field=self.id_field,
            constants=self.input,
            format=self.format,
            delimiter=self.delimiter,
            encoding=self.encoding,
            sheet=None if self.sheet is None else str(self.sheet),  # a crew file may have a number
            map=self.column_map,
            fields=self.field_names,
        )

    @property
    def column_map(self) -> dict[str, str]:
        """What `--map` says: the column of each placeholder. Raises UsageError."""
        return column_map(self.map)

    @property
    def field_names(self) -> list[str] | None:
        """What `--fields` says, None for all columns. Raises UsageError."""
        return field_names(self.fields)

    @property
    def worker_options(self) -> WorkerOptions:
        """What `--workers`, `--worker-cpus` and `--env` ask for. Raises UsageError."""
        if not math.isfinite(self.worker_cpus):
            raise UsageError(f"--worker-cpus {self.worker_cpus}: must be a number of CPUs, such as 1 or 0.5")
        return WorkerOptions(None if self.workers == "auto" else self.workers, self.worker_cpus, tuple(self.env))

    @property
    def is_adaptive(self) -> bool:
        """Whether the number of rows at once adapts to the providers."""
        return self.max_concurrent == "auto"

    @property
    def rows_at_once(self) -> int:
        """The largest number of rows at once."""
        return MAX_CALLS if self.max_concurrent == "auto" else self.max_concurrent

    @property
    def part(self) -> Shard | None:
        """What `--shard` says, None for all rows."""
        return None if self.shard is None else Shard.parse(str(self.shard))

    @property
    def outage_patience_s(self) -> float:
        """How long to wait for a provider that does not answer."""
        return seconds("--outage-patience", "5m" if self.outage_patience is None else self.outage_patience)

    @property
    def tier_patience_s(self) -> float:
        """How long a call waits for room at flex."""
        return seconds("--tier-patience", "10m" if self.tier_patience is None else self.tier_patience)

    @property
    def job_patience_s(self) -> float:
        """How long a batch job may take; infinity for no limit."""
        return math.inf if self.tier_patience is None else self.tier_patience_s

    @property
    def poll_s(self) -> float:
        """The shortest time between two looks at a batch job."""
        poll_s = seconds("--poll", self.poll)
        if poll_s == 0:
            raise UsageError(f"--poll {self.poll}: needs to be a time above 0, such as 30s")
        return poll_s

    @property
    def batch_delay_s(self) -> float:
        """How long a gathered call waits for others."""
        return seconds("--batch-delay", self.batch_delay)

    @property
    def limiter(self) -> LimiterOptions:
        """What `-j`, `--rpm`, `--tpm`, `--shared-limits` and `--outage-patience` ask for."""
        return LimiterOptions(
            rpm=self._held(per_model("--rpm", self.rpm)),
            tpm=self._held(per_model("--tpm", self.tpm)),
            slow_start=self.is_adaptive,
            outage_patience_s=self.outage_patience_s,
            is_explicit=self.outage_patience is not None,
            max_calls=max(MAX_CALLS, self.rows_at_once),
            shares=self.shared_limits and not self.replay,
        )

    def _held(self, per_min: Mapping[str, int]) -> Mapping[str, int]:
        """Limits as they have to be kept here: leave that is given now is used elsewhere up to a second later."""
        return per_min if self.is_here else {model: max(1, limit * 60 // 61) for model, limit in per_min.items()}

    @property
    def is_here(self) -> bool:
        """Whether rows run in this process."""
        return self.executor == "inline"

    @property
    def prices(self) -> dict[str, Price]:
        """What `--price` says, by model."""
        return prices("--price", self.price)

    @property
    def checks_tool_keys(self) -> bool:
        """Whether a run is refused when a tool lacks a key; with --replay no tool is called."""
        return self.missing_tool_keys == "fail" and not self.replay

    @property
    def flag_that_needs_prices(self) -> str | None:
        """A flag that only holds when every model's price is known."""
        return "--budget" if self.budget is not None else "--max-forecast" if self.max_forecast is not None else None

    @property
    def budget_usd(self) -> float | None:
        """What `--budget` allows."""
        return None if self.budget is None else dollars("--budget", self.budget)

    @property
    def row_budget_usd(self) -> float | None:
        """What `--row-budget` allows."""
        return None if self.row_budget is None else dollars("--row-budget", self.row_budget)

    @property
    def max_forecast_usd(self) -> float | None:
        """What `--max-forecast` allows."""
        return None if self.max_forecast is None else dollars("--max-forecast", self.max_forecast)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """The host and port of `--metrics`, None without it."""
        return None if self.metrics is None else address("--metrics", self.metrics)

    @property
    def telemetry(self) -> TelemetryOptions:
        """What other programs are to see of the run."""
        return TelemetryOptions(self.otel, self.metrics_address, has_contents=self.log_prompts)

    @property
    def cache_bytes(self) -> int:
        """What `--cache-size` allows."""
        return size_bytes("--cache-size", self.cache_size)

    def deadline_s(self, now: datetime) -> float | None:
        """Seconds until `--deadline`, None without one."""
        return None if self.deadline is None else seconds_until("--deadline", self.deadline, now)

    @property
    def failure_limit(self) -> FailureLimit | None:
        """What `--fail-fast` and `--max-failures` ask for."""
        if self.fail_fast:
            return FailureLimit(count=1, flag="--fail-fast")
        if self.max_failures is None:
            return None
        try:
            return FailureLimit.parse(str(self.max_failures))
        except ValueError:
            raise UsageError(
                f"--max-failures {self.max_failures!r}: a number from 1, or a percentage such as 5%"
            ) from None
