"""What one `crewrun batch` was asked to do, after flags, environment and crew file have been brought together."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from crewrun.batch.stop import FailureLimit
from crewrun.errors import UsageError
from crewrun.runs.lock import LockMode

ProgressStyle = Literal["auto", "rich", "plain", "json", "none"]


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """One field per flag; times in seconds. The values here are the defaults that `--help` names."""

    output: str | None = None
    max_concurrent: int = 8
    model: str | None = None
    base_url: str | None = None
    ordered: bool = False
    retries: int = 5
    call_timeout: float | None = None
    row_timeout: float | None = None
    grace: float = 20.0
    limit: int | None = None
    offset: int = 0
    fail_fast: bool = False
    max_failures: str | None = None
    strict: bool = False
    progress: ProgressStyle = "auto"
    quiet: bool = False
    summary: str | None = None
    fresh: bool = False
    run_dir: str | None = None
    lock: LockMode = "fail"
    id_field: str | None = None
    replay: bool = False
    log_prompts: bool = False

    @classmethod
    def merge(cls, given: Mapping[str, Any], file: Mapping[str, Any]) -> "BatchSettings":
        """`given` (flags and environment; None is not given) over the crew file's `batch:` over the defaults."""
        known = {f.name for f in fields(cls)}
        merged = {name: value for name, value in file.items() if name in known}
        if given.get("max_failures") is not None or given.get("fail_fast") is not None:
            # The two say the same thing: a flag for one overrules what the file says of the other.
            merged.pop("max_failures", None)
            merged.pop("fail_fast", None)
        merged.update({name: value for name, value in given.items() if value is not None})
        return cls(**merged)

    def check(self) -> None:
        """Raise UsageError for settings that make no sense, alone or together."""
        self.failure_limit  # noqa: B018  (raises for one that does not parse)
        if self.fresh and self.replay:
            raise UsageError("--fresh --replay: a run that begins anew has nothing to replay; leave one out")

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
