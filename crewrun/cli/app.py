"""The commands, and what they have in common: how errors are reported and how the process ends."""

import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import typer
import typer.main

from crewrun._version import __version__
from crewrun.cli.batch import batch
from crewrun.cli.bench import bench
from crewrun.cli.check import check, print_schema
from crewrun.cli.command_line import HELP_NAMES, Command, Program
from crewrun.cli.compare import compare
from crewrun.cli.completion import completion, print_candidates
from crewrun.cli.export import export
from crewrun.cli.gc import gc
from crewrun.cli.help import show_help
from crewrun.cli.init import init
from crewrun.cli.limits import limits
from crewrun.cli.merge import merge
from crewrun.cli.misuse import explain, is_misuse
from crewrun.cli.mock import mock
from crewrun.cli.plan import plan
from crewrun.cli.plot import plot
from crewrun.cli.report import report
from crewrun.cli.retry import retry
from crewrun.cli.run import run as run_once
from crewrun.cli.runs import runs
from crewrun.cli.score import score
from crewrun.cli.setup import exit_now
from crewrun.cli.show import show
from crewrun.cli.status import status
from crewrun.errors import CrewrunError, CrewrunWarning, OutputClosed, OutputFailed
from crewrun.redaction.redactor import learn, redact, redact_line
from crewrun.redaction.values import environment_secrets
from crewrun.terminal import announce, complain, say_all, visible

app = typer.Typer(
    cls=Program,
    name="crewrun",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_NAMES,
)
_ALL_TO_BATCH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_ANY_WORD = {"ignore_unknown_options": True}  # `crewrun help --budget`
_SETTINGS: dict[str, dict[str, Any]] = {"plan": _ALL_TO_BATCH, "help": _ANY_WORD}
_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Run": {"batch": batch, "plan": plan, "retry": retry, "run": run_once},
    "Look at runs": {
        "runs": runs,
        "status": status,
        "show": show,
        "score": score,
        "compare": compare,
        "report": report,
        "export": export,
        "merge": merge,
        "gc": gc,
        "limits": limits,
    },
    "Set up": {"init": init, "check": check, "schema": print_schema, "completion": completion, "help": show_help},
    "Develop": {"plot": plot, "mock": mock, "bench": bench},
}
for _group, _functions in _COMMANDS.items():
    for _name, _function in _functions.items():
        app.command(_name, cls=Command, rich_help_panel=_group, context_settings=_SETTINGS.get(_name))(_function)


def _print_version(wanted: bool) -> None:
    if wanted:
        announce(f"crewrun {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Run crews of LLM agents over every row of a table, from a shell or cron."""


def run() -> None:
    """Run the command line. A user's mistake is one clear message; a traceback means a bug."""
    learn(environment_secrets())
    warnings.formatwarning = _as_a_line
    sys.excepthook = _say_traceback
    threading.excepthook = lambda thread: _say_traceback(
        thread.exc_type, thread.exc_value or thread.exc_type(), thread.exc_traceback
    )
    _guard_logging()
    if sys.argv[1:2] == ["__complete"]:  # a shell's Tab: see `cli.completion`
        print_candidates(typer.main.get_command(app), sys.argv[2:])
        sys.exit(0)
    try:
        code = app(prog_name="crewrun", standalone_mode=False)
    except CrewrunError as wrong:
        if not isinstance(wrong, OutputClosed):
            complain(str(wrong))
        code = wrong.exit_code
        if isinstance(wrong, OutputClosed | OutputFailed):
            exit_now(code)  # what standard output still has in its buffer would fail again
    except typer.Abort as aborted:
        if isinstance(aborted.__cause__, EOFError):  # click takes any for Ctrl-D at a prompt; we have none
            raise aborted.__cause__ from None
        code = 130
    except Exception as wrong:
        if not is_misuse(wrong):
            raise
        if type(wrong).__name__ == "NoArgsIsHelpError":
            wrong.show(sys.stderr)
        else:
            complain(explain(wrong))
        code = wrong.exit_code
    sys.exit(code)


def _as_a_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format a warning: crewrun's own already say where."""
    if issubclass(category, CrewrunWarning):
        text = f"warning: {message}"
    else:
        text = f"{filename}:{lineno}: {category.__name__}: {redact(str(message))}"
    return visible(redact_line(text), keep="\t\n") + "\n"


def _say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, redacted: it may quote the user's code and files, and secrets in them."""
    say_all(redact("".join(traceback.format_exception(kind, error, trace))).rstrip("\n").split("\n"))


def _guard_logging() -> None:
    """Redact what libraries log to stderr when no handler is set up, for example asyncio's lost exceptions."""
    import logging

    class Guarded(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return visible(redact(super().format(record)), keep="\t\n")

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Guarded())
