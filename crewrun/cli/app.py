"""The commands, and what is the same for all of them: how errors are said and how the process ends."""

import sys
import warnings

import typer

from crewrun._version import __version__
from crewrun.cli.batch import batch
from crewrun.cli.bench import bench
from crewrun.cli.check import check, print_schema
from crewrun.cli.export import export
from crewrun.cli.gc import gc
from crewrun.cli.init import init
from crewrun.cli.merge import merge
from crewrun.cli.mock import mock
from crewrun.cli.plan import plan
from crewrun.cli.plot import plot
from crewrun.cli.retry import retry
from crewrun.cli.run import run as run_once
from crewrun.cli.show import show
from crewrun.cli.status import status
from crewrun.errors import CrewrunError, CrewrunWarning, OutputClosed, redact

app = typer.Typer(
    name="crewrun",
    help="Run a crew of LLM agents over every line of a JSONL file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(batch)
_ALL_TO_BATCH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
app.command(context_settings=_ALL_TO_BATCH)(plan)
app.command()(retry)
app.command()(status)
app.command()(show)
app.command()(export)
app.command()(merge)
app.command()(gc)
app.command(name="run")(run_once)
app.command()(check)
app.command()(plot)
app.command()(init)
app.command(name="schema")(print_schema)
app.command()(mock)
app.command()(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crewrun {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Run a crew of LLM agents over every line of a JSONL file."""


def run() -> None:
    """Run the command line. A user's mistake is one clear message; a traceback means a bug."""
    warnings.formatwarning = _as_a_line
    try:
        app()
    except CrewrunError as wrong:
        if not isinstance(wrong, OutputClosed):
            complain(str(wrong))
        sys.exit(wrong.exit_code)


def _as_a_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as it is shown: ours say where by themselves."""
    if issubclass(category, CrewrunWarning):
        return f"warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def complain(message: str) -> None:
    """Say what is wrong, on stderr, without the keys that may stand in it."""
    typer.echo(f"crewrun: {redact(message)}", err=True)
