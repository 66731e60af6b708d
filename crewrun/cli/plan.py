"""`crewrun plan`: what a batch would take, before it begins. It is another name for `crewrun batch --dry-run`."""

import typer

from crewrun.cli.batch import batch
from crewrun.cli.command_line import HELP_NAMES, Command


def plan(context: typer.Context) -> None:
    """Say what `crewrun batch` would do, cost and take, without a call: the same as `crewrun batch --dry-run`.

    Takes what `batch` takes, and --json. Crew, keys, prices and rows are checked; calls, tokens, cost and time are
    estimated. Exit codes: 0 it would start; 2 it would not.
    """
    # `batch` under another name: its arguments, its flags and their variables, with this help and usage.
    own = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    own.command(cls=Command, help=plan.__doc__, context_settings=HELP_NAMES)(batch)
    own(["--dry-run", *context.args], prog_name=context.command_path, standalone_mode=False)
