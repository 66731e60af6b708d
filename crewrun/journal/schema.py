"""The tables of `journal.sqlite`, the entries in them, and the migrations from older versions.

Entries are only added, never changed or deleted: a row that ran again has a later entry. Prompts are not in the
journal; a request is identified by its digest.
"""

from typing import Final, NamedTuple

from crewrun.errors import Category

VERSION: Final = 5

_REFUSALS = (
    "create table refusals (definition integer not null, endpoint text not null, what text not null, "
    "primary key (definition, endpoint, what)) without rowid"
)
# A partial index for `status`, which counts the failed tools among all calls; 4 is TOOL_FAILURE below.
_TOOL_FAILURES = "create index if not exists tool_failures on calls (name) where kind = 4"
_CACHE_WRITES = "cache_write_prompt_tokens integer not null default 0"
# Columns of sessions since version 4: the most that the session may have spent, its calls in flight included (null
# without a budget), and what its attempts with an unknown bill may cost.
_SINCE_4 = (
    _CACHE_WRITES,
    "high_water_usd real",
    "owed_usd real not null default 0",
    "owed_calls integer not null default 0",
    "owed_unpriced integer not null default 0",
)
_LEARNED_BOUNDS = (
    "create table learned_bounds (model text primary key, extra_prompt_tokens integer not null, "
    "answer_factor real not null) without rowid"
)
# Columns of calls since version 5: the service tier of the answer (null for the standard one, unless the call had asked
# for a cheaper one), and what it would have cost more at the standard tier.
_TIER_COLUMNS = ("tier text", "saved_usd real")
# A partial index, so that summing up by tier never reads the answers; a run without tiers has nothing in it.
_TIERS = "create index if not exists tiers on calls (session, tier, kind, cost_usd, saved_usd) where tier is not null"
# Batch jobs since version 5. A job ends once, in the session `ended_in`; `end` says how. `lines_ended` is what the
# provider said at `looked_at`. A line has its result from the end of its job until its call is in `calls`: it is taken
# then. Results are the only entries that are deleted, since `calls` has them.
_JOBS = (
    "create table jobs (number integer primary key, session integer not null, intent text not null, "
    "route text not null, intended_at real not null, lines integer not null, id text not null default '', "
    "end text not null default '', ended_in integer, looked_at real, lines_ended integer not null default 0)"
)
_JOB_LINES = (
    "create table job_lines (job integer not null, position integer not null, line blob not null, most_usd real, "
    "end text, status integer, reply blob, taken integer not null default 0, primary key (job, position)) "
    "without rowid; create index lines_by_id on job_lines (line)"
)
# By version: the statements that migrate a journal to the next version.
MIGRATIONS: Final = {
    1: "alter table calls add column estimated_calls integer not null default 0",
    # Refusals that version 2 concluded from a single reply are dropped: they no longer count as evidence.
    2: f"drop table refusals; {_REFUSALS}; {_TOOL_FAILURES}",
    3: "; ".join(
        [
            *(f"alter table sessions add column {column}" for column in _SINCE_4),
            f"alter table calls add column {_CACHE_WRITES}",
            _LEARNED_BOUNDS,
        ]
    ),
    4: "; ".join([*(f"alter table calls add column {column}" for column in _TIER_COLUMNS), _TIERS, _JOBS, _JOB_LINES]),
}

# By older version that can be read as it is: what shows a reader its tables as those of this version. A temporary view
# hides the table of its name: https://sqlite.org/lang_naming.html
_NO_JOBS = f"{_JOBS}; {_JOB_LINES}".replace("create table", "create temp table")
READABLE: Final = {
    4: f"create temp view calls as select *, null as tier, null as saved_usd from main.calls; {_NO_JOBS}"  # noqa: S608
}

# The token columns of calls, and of the sums in sessions.
TOKEN_COLUMNS: Final = (
    *("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "reasoning_tokens"),
    "cache_write_prompt_tokens",
)

# The kinds of call entries. An answer is stored as its text alone, a turn (an answer with more than text, or truncated)
# as JSON. Failures of calls and of tools are stored for `show` and never replayed.
ANSWER: Final = 0
TURN: Final = 1
TOOL: Final = 2
FAILURE: Final = 3
TOOL_FAILURE: Final = 4

# How rows ended: 0 is success, otherwise the position of the failure's category here. New categories go to the end.
OK: Final = 0
_CATEGORIES = (
    *("", "input", "auth", "quota", "model_not_found", "bad_request", "context_length", "content_filter", "rate_limit"),
    *("timeout", "network", "server", "output_invalid", "tool", "guardrail", "budget", "internal"),
)

SCHEMA: Final = f"""
begin;
create table names (id integer primary key, name text not null);
{_REFUSALS};
create table sessions (
    id integer primary key, started_at real not null, updated_at real not null, ended_at real, pid integer not null,
    command text not null, definition integer not null, stopped text, exit_code integer,
    attempts integer not null default 0, calls integer not null default 0, prompt_tokens integer not null default 0,
    cached_prompt_tokens integer not null default 0, completion_tokens integer not null default 0,
    reasoning_tokens integer not null default 0, cost_usd real not null default 0, unpriced integer not null default 0,
    ok integer not null default 0, failed integer not null default 0, kept integer not null default 0,
    in_flight integer not null default 0, share real, elapsed_s real not null default 0,
    {", ".join(_SINCE_4)}
);
create table calls (
    seq integer primary key, session integer not null, row integer not null, task not null, kind integer not null,
    request blob not null, reply blob not null, name not null, prompt_tokens integer, cached_prompt_tokens integer,
    completion_tokens integer, reasoning_tokens integer, cost_usd real, attempts integer, at_ms integer,
    duration_ms integer, estimated_calls integer, cache_write_prompt_tokens integer, {", ".join(_TIER_COLUMNS)}
);
{_TOOL_FAILURES};
{_TIERS};
{_JOBS};
{_JOB_LINES};
{_LEARNED_BOUNDS};
create table rows (
    seq integer primary key, session integer not null, definition integer not null, key integer not null,
    id not null, digest integer not null, ended integer not null, record blob not null
);
pragma user_version = {VERSION};
commit;
"""


class CallEntry(NamedTuple):
    """A call.

    `row` is the `row_key` of the row's id, `name` the model or tool; `task` and `name` are codes of `Names`.
    """

    seq: int
    session: int
    row: int
    task: int | str
    kind: int
    request: bytes
    reply: bytes
    name: int | str
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    attempts: int
    at_ms: int
    duration_ms: int
    estimated_calls: int
    cache_write_prompt_tokens: int
    tier: str | None
    saved_usd: float | None


class RowEntry(NamedTuple):
    """A finished row. `key` is its `done_key`, `id` its packed id, `digest` that of its result line, and `record` the
    encoded outcome.
    """

    seq: int
    session: int
    definition: int
    key: int
    id: bytes | str
    digest: int
    ended: int
    record: bytes


def ended_of(category: Category | None) -> int:
    """The number for how a row ended."""
    return OK if category is None else _CATEGORIES.index(category)


def category_of(ended: int) -> Category | None:
    """The category behind a number of `ended_of`, None for success."""
    return None if ended == OK else Category(_CATEGORIES[ended])
