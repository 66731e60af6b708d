"""`crewrun limits`: what runs have learned of the limits of accounts."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from crewrun.inspect.limits import KeptLimits


def limits(
    model: str | None = typer.Argument(None, metavar="[MODEL]", help="Only those of this model."),
    forget: bool = typer.Option(False, "--forget", help="Delete them: the next run finds them out again."),
    as_json: bool = typer.Option(False, "--json", help="Print the list as JSON."),
) -> None:
    """List the limits that runs have learned, by account: a model at an address with a key.

    The next run begins with them, and all processes of this machine keep them together. They are kept in
    $XDG_STATE_HOME/crewrun/limits, by default ~/.local/state, for seven days after their last use. Exit codes: 0 they
    are listed; 2 nothing is known of MODEL, or something could not be deleted; 141 stdout was closed.
    """
    from crewrun.cli.setup import open_stdout, put_data
    from crewrun.cli.terminal_table import Column, print_table
    from crewrun.errors import UsageError, suggest
    from crewrun.inspect import limits as store
    from crewrun.terminal import say

    stdout = open_stdout()
    everything = store.kept_limits()
    chosen = [one for one in everything if model is None or model in (one.state.model, one.state.model.split("/")[-1])]
    if model is not None and not chosen:
        raise UsageError(f"nothing is known of {model!r}{suggest(model, [one.state.model for one in everything])}")
    if forget:
        store.forget(chosen)
    if as_json:
        put_data(stdout, json.dumps({"schema": store.SCHEMA, "limits": [one.to_json() for one in chosen]}, indent=2))
        return
    columns = [
        Column("MODEL", most=50),
        Column("ADDRESS", 2),
        Column("LIMITS", most=60),
        Column("AT ONCE", 1, is_right=True),
        Column("USED", 0),
        Column("BY", 3, is_right=True),
    ]
    print_table(stdout, columns, map(_cells, chosen), has_head=True)
    if not chosen:
        say("crewrun: no limits are known")
    elif forget:
        say(f"crewrun: forgot {'these' if len(chosen) > 1 else 'this'}")


def _cells(one: "KeptLimits") -> tuple[str, ...]:
    from crewrun.cli.wording import count, local_minute

    state = one.state
    return (
        state.model,
        state.host or "-",
        state.limits_in_words or "none so far",
        f"{state.at_once:,}" if state.at_once else "-",
        local_minute(state.used_on),
        count(one.processes, "run") if one.processes else "-",
    )
