"""`crewrun show`: the rows of a run as a list (`show_list`), or one of them with all its calls (`show_row`)."""

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import re

    from crewrun.inspect.listing import RowStatus, Selection

_LISTED = 20  # with the head and the shell's prompt a screen of 24 lines


def show(
    run: str = typer.Argument(..., metavar="RUN", help="The results file of a run, or its run folder."),
    row: str | None = typer.Argument(
        None,
        metavar="[ROW]",
        help="A row: its id or enough of its beginning, or the line of the input that it is on, 7 or line:7. "
        "[default: list the rows]",
    ),
    failed: bool = typer.Option(False, "--failed", help="List rows that failed."),
    status: Annotated[
        Literal["ok", "failed", "unfinished"] | None, typer.Option(help="List rows with this status.")
    ] = None,
    category: str | None = typer.Option(
        None, "--category", metavar="CATEGORY", help="List rows that failed with this category, such as rate_limit."
    ),
    grep: str | None = typer.Option(
        None,
        "--grep",
        metavar="PATTERN",
        help="List rows with this regular expression in their input, output or error; case does not matter.",
    ),
    missed: str | None = typer.Option(
        None, "--missed", metavar="NAME", help="List rows that missed this expectation of the crew."
    ),
    limit: int | None = typer.Option(
        None,
        "--limit",
        metavar="N",
        min=0,
        help=f"List at most N rows, 0 for all. [default: {_LISTED}; all with --json]",
    ),
    sample: int | None = typer.Option(None, "--sample", metavar="N", min=1, help="List N rows drawn at random."),
    seed: int | None = typer.Option(
        None, "--seed", metavar="N", help="Draw the same rows again. [default: others each time]"
    ),
    as_json: bool = typer.Option(
        False, "--json", help="Print the row as JSON; of a list one object per line, with all texts in full."
    ),
) -> None:
    """List the rows of a run, or show one: its input, tasks and output, and each call with prompt, reply and cost.

    The list has each row's line, id, status, cost, time and the beginning of its input and output, in the input's
    order: as wide as the terminal, or in a pipe one row per line with tabs and texts in full. An id that is equal to
    ROW comes before a line. A run stores prompts only with --log-prompts. Otherwise they are rebuilt from the crew, and
    shown where they are proven to be what was sent. Exit codes: 0 it was shown; 2 RUN is not a run, or has no such row;
    141 stdout was closed.
    """
    from crewrun.cli.setup import open_stdout, put_data, tell
    from crewrun.inspect.view import open_run

    listing_flags: dict[str, Any] = {
        "--failed": failed or None,
        "--status": status,
        "--category": category,
        "--grep": grep,
        "--missed": missed,
        "--limit": limit,
        "--sample": sample,
        "--seed": seed,
    }
    if row is None:
        from crewrun.cli.show_list import show_list

        selection = _selection(listing_flags, _status(status, failed=failed), as_json=as_json)
        show_list(run, selection, as_json=as_json)
        return
    from crewrun.cli.show_row import lines, show_row

    _refuse_listing_flags(listing_flags, row)
    stdout = open_stdout()
    with open_run(run) as view:
        shown = show_row(view, row)
    if as_json:
        put_data(stdout, json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        tell(stdout, lines(shown))


def _refuse_listing_flags(flags: dict[str, Any], row: str) -> None:
    from crewrun.errors import UsageError

    for name, value in flags.items():
        if value is not None:
            raise UsageError(f"{name} lists rows, and {row!r} is one row; leave one of them out")


def _status(status: "RowStatus | None", *, failed: bool) -> "RowStatus | None":
    """The status that --status and --failed ask for. Raises UsageError."""
    from crewrun.errors import UsageError

    if failed and status not in (None, "failed"):
        raise UsageError(f"--failed --status {status}: no row is both; leave one of them out")
    return "failed" if failed else status


def _selection(flags: dict[str, Any], status: "RowStatus | None", *, as_json: bool) -> "Selection":
    """The rows that the flags select. Raises UsageError for a flag that makes no sense."""
    import random

    from crewrun.cli.categories import category_named
    from crewrun.errors import UsageError
    from crewrun.inspect.listing import Selection

    category = None if flags["--category"] is None else category_named("--category", flags["--category"])
    if category is not None and status not in (None, "failed"):
        raise UsageError(f"--category {category}: only failed rows have one; leave --status {status} out")
    limit, sample, seed = flags["--limit"], flags["--sample"], flags["--seed"]
    if seed is not None and sample is None:
        raise UsageError(f"--seed {seed}: is that of a sample; add --sample N")
    if limit is not None and sample is not None:
        raise UsageError(f"--limit {limit}: a sample has as many rows as --sample says; leave one of them out")
    if limit is None and sample is None and not as_json:
        limit = _LISTED
    seed = random.randrange(10**6) if seed is None else seed  # noqa: S311  (no secret)
    return Selection(status, category, _pattern(flags["--grep"]), limit or None, sample, seed, flags["--missed"])


def _pattern(grep: str | None) -> "re.Pattern[str] | None":
    """The pattern that --grep gives. Raises UsageError."""
    import re

    from crewrun.errors import UsageError

    try:
        return None if grep is None else re.compile(grep, re.IGNORECASE)
    except re.error as wrong:
        escaped = re.escape(grep or "")
        raise UsageError(
            f"--grep {grep!r}: is not a regular expression: {wrong}; as plain text: --grep {shlex.quote(escaped)}"
        ) from None
