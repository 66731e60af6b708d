"""Who used what: counters that every call adds to, from the task up to the row.

A tally has a parent, and what is added to it is added to all above it: task → kickoff → row. `current_tally` finds the
row's, so that a crew that some other code starts for the row is still counted there.
"""

from contextvars import ContextVar

from crewrun.errors import CrewrunError
from crewrun.llm.failed_tools import FailedCall, FailedTools
from crewrun.llm.recorder import Recorder, Spent
from crewrun.messages import Completion, Usage
from crewrun.row import FailedTool, Replayed, TaskRecord


class Tally:
    """The account of one task, kickoff or row. Filled in while it runs; read at its end, also after a failure.

    `recorder` is the row's memory of its calls, if the run has one, and `task` the name that calls are kept under:
    `method/task` for a crew's task inside a flow's method. Tasks that finish inside what `is_whole` are a part of it,
    and are not told to those above. `finish_reasons` are the unknown words with which its replies ended. `own_texts`
    are the texts of the task itself, before a row fills them in; None where there is no task.
    """

    __slots__ = (
        "_cost_usd",
        "_owed_usd",
        "_parent",
        "_replayed",
        "_unpriced",
        "attempts",
        "cache_write_prompt_tokens",
        "cached_prompt_tokens",
        "calls",
        "completion_tokens",
        "estimated_calls",
        "failed_task",
        "failed_tools",
        "files",
        "finish_reasons",
        "flow_depth",
        "is_whole",
        "models",
        "own_texts",
        "prompt_tokens",
        "reasoning_tokens",
        "recorder",
        "refusal",
        "task",
        "tasks",
        "truncated",
    )

    def __init__(
        self,
        parent: "Tally | None" = None,
        *,
        task: str | None = None,
        recorder: Recorder | None = None,
        is_whole: bool = False,
    ) -> None:
        self._parent = parent
        if parent is not None:
            recorder, task = recorder or parent.recorder, parent._below(task) if task else parent.task
        self.own_texts: tuple[str, ...] | None = parent.own_texts if parent is not None else None
        self.finish_reasons: dict[str, None] = {}
        self.is_whole = is_whole
        # Why a call of the row was not made at all. Nobody's code may make a success of that.
        self.refusal: CrewrunError | None = None
        self.flow_depth: int = (parent.flow_depth if parent is not None else 0) + is_whole
        self.recorder: Recorder | None = recorder
        self.task: str = task or ""
        self._replayed: list[Spent] = []
        self.attempts = self.calls = self.truncated = 0
        self.prompt_tokens = self.cached_prompt_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self.estimated_calls = self.cache_write_prompt_tokens = 0
        self._cost_usd = self._owed_usd = 0.0
        self._unpriced = False
        self.models: dict[str, None] = {}
        self.tasks: list[TaskRecord] = []
        self.files: list[str] = []
        self.failed_task: str | None = None
        self.failed_tools: FailedTools | None = None

    @property
    def cost_usd(self) -> float | None:
        """US dollars, None when the price of a model that was used is not known."""
        return None if self._unpriced else self._cost_usd

    @property
    def is_in_flow(self) -> bool:
        """Whether a flow's method is at work here."""
        return self.flow_depth > 0

    @property
    def row_cost_usd(self) -> float | None:
        """US dollars of the whole row that this is a part of."""
        return self._row.cost_usd

    @property
    def row_owed_usd(self) -> float:
        """What attempts of the row whose bill nobody told may have cost besides, in US dollars."""
        return self._row._owed_usd

    @property
    def _row(self) -> "Tally":
        tally = self
        while tally._parent is not None:
            tally = tally._parent
        return tally

    @property
    def usage(self) -> Usage:
        """The tokens so far."""
        return Usage(
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.estimated_calls,
            self.cache_write_prompt_tokens,
        )

    @property
    def finish_reason(self) -> str | None:
        """The unknown words with which replies ended, as one text; None for none."""
        return ", ".join(self.finish_reasons) or None

    @property
    def replayed(self) -> Replayed | None:
        """What of all this an earlier session of the run paid for, None when it is nothing."""
        known = self._replayed
        if not known:
            return None
        costs = [spent.cost_usd for spent in known if spent.cost_usd is not None]
        usage = sum((spent.usage for spent in known), Usage())
        attempts = sum(spent.attempts for spent in known)
        return Replayed(len(known), attempts, usage, sum(costs) if len(costs) == len(known) else None)

    def sent(self) -> None:
        """One attempt goes out on the wire."""
        tally: Tally | None = self
        while tally is not None:
            tally.attempts += 1
            tally = tally._parent

    def billed(self, model: str, usage: Usage, cost_usd: float | None) -> None:
        """The provider counted `usage`, for an answer or for one that could not be used."""
        tally: Tally | None = self
        while tally is not None:
            tally.prompt_tokens += usage.prompt_tokens
            tally.cached_prompt_tokens += usage.cached_prompt_tokens
            tally.completion_tokens += usage.completion_tokens
            tally.reasoning_tokens += usage.reasoning_tokens
            tally.estimated_calls += usage.estimated_calls
            tally.cache_write_prompt_tokens += usage.cache_write_prompt_tokens
            tally.models[model] = None
            if cost_usd is None:
                tally._unpriced = True
            else:
                tally._cost_usd += cost_usd
            tally = tally._parent

    def owes(self, usd: float | None) -> None:
        """An attempt's bill is not known; it may be `usd`, None where its price is not known either."""
        row = self._row
        row._owed_usd += usd or 0.0

    def replays(self, completion: Completion, spent: Spent) -> None:
        """A call of an earlier session is answered again: it counts as it did then, and as nothing spent now."""
        self.billed(spent.model, spent.usage, spent.cost_usd)
        self.answered(completion)
        tally: Tally | None = self
        while tally is not None:
            tally.attempts += spent.attempts
            tally._replayed.append(spent)
            tally = tally._parent

    def unaccounted(self) -> None:
        """Calls are made that are not seen here, so nobody can say what the whole costs."""
        tally: Tally | None = self
        while tally is not None:
            tally._unpriced = True
            tally = tally._parent

    def answered(self, completion: Completion) -> None:
        """A call has its answer."""
        tally: Tally | None = self
        while tally is not None:
            tally.calls += 1
            tally.truncated += completion.truncated
            if completion.finish_reason is not None:
                tally.finish_reasons[completion.finish_reason] = None
            tally = tally._parent

    def finished(self, task: TaskRecord) -> None:
        """A task is done."""
        tally: Tally | None = self
        while tally is not None:
            tally.tasks.append(task)
            tally = None if tally.is_whole else tally._parent

    def wrote(self, file: str) -> None:
        """A task wrote its output file."""
        tally: Tally | None = self
        while tally is not None:
            tally.files.append(file)
            tally = tally._parent

    @property
    def tool_failures(self) -> tuple[FailedTool, ...]:
        """The failed tool calls so far, counted."""
        return self.failed_tools.groups if self.failed_tools is not None else ()

    def tool_failed(self, call: FailedCall) -> None:
        """A call of a tool failed."""
        tally: Tally | None = self
        while tally is not None:
            if tally.failed_tools is None:
                tally.failed_tools = FailedTools()
            tally.failed_tools.add(call)
            tally = tally._parent

    def refused(self, error: CrewrunError) -> None:
        """A call was not made, since the run or the row must not go on; the first one to say so is the cause."""
        tally: Tally | None = self
        while tally is not None:
            tally.refusal = tally.refusal or error
            tally = tally._parent

    def failed_in(self, task: str) -> None:
        """`task` failed; the first one to say so is the cause."""
        task = self._below(task)
        tally: Tally | None = self
        while tally is not None:
            tally.failed_task = tally.failed_task or task
            tally = tally._parent

    def _below(self, task: str) -> str:
        """The name of a task of what this is the account of."""
        return f"{self.task}/{task}" if self.task else task


_current: ContextVar[Tally | None] = ContextVar("crewrun_tally", default=None)


def current_tally() -> Tally | None:
    """The tally of the row that this code runs for, if any."""
    return _current.get()


class counting_into:  # noqa: N801  (used as a function is)
    """`with counting_into(tally)`: make `tally` the current one inside the block."""

    __slots__ = ("_tally", "_token")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def __enter__(self) -> None:
        self._token = _current.set(self._tally)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
