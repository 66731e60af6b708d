"""What commands that run crews do first: load keys from `.env`, reserve standard output for results, load the crew."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from crewrun.errors import UsageError
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets
from crewrun.terminal import say_all, visible

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.definitions.definition import Definition


T = TypeVar("T")

# What a batch with the offline model needs is 24.
_LEAST_FILES = 32


def run_loop(main: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run `main(*args)` in an event loop, with uvloop where it is installed.

    Raises UsageError when the system allows too few open files for that.
    """
    from importlib.util import find_spec

    import anyio

    from crewrun.aio.open_files import raise_file_limit

    allowed = raise_file_limit(_LEAST_FILES)
    if allowed < _LEAST_FILES:
        raise UsageError(
            f"the system allows {allowed} open files, and a command needs {_LEAST_FILES}; raise the limit (ulimit "
            "-Hn, as root)"
        )
    return anyio.run(main, *args, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def exit_now(code: int) -> NoReturn:
    """End the process without waiting for threads, which may be blocked by a dead disk or a user's tool."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def claim_stdout() -> int:
    """Return a private descriptor of standard output, and redirect what any other code prints to standard error."""
    sys.stdout.flush()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what user code prints appears at once
    results = os.dup(1)
    os.dup2(2, 1)
    return results


def open_stdout() -> "StreamSink":
    """Claimed standard output, for a command that prints text. Raises UsageError when it is closed."""
    from crewrun.batch.sink import StreamSink

    stdout_fd = claim_stdout()
    try:
        return StreamSink(stdout_fd)
    except UsageError:
        raise UsageError("standard output is closed; there is nowhere to print to") from None


def put_data(stdout: "StreamSink", text: str) -> None:
    """Print `text` for programs (JSON, a page) and a newline, unescaped. Raises OutputFailed, or OutputClosed when the
    reader is gone.
    """
    run_loop(stdout.write, [text.encode("utf-8", "replace") + b"\n"])


def tell(stdout: "StreamSink", lines: Iterable[str]) -> None:
    """Print lines for people, with control characters escaped. Raises as `put_data` does."""
    put_data(stdout, "\n".join(visible(line) for line in lines))


def load_env(folder: Path | None = None) -> None:
    """Set variables that are not set yet from `.env` in `folder`, by default the working directory.

    Raises UsageError when the file cannot be read.
    """
    path = (folder or Path()) / ".env"
    if os.path.isfile(path):  # `Path.is_file` raises for a name that is too long
        from dotenv import load_dotenv

        from crewrun.cli.variables import flags_in_env_file

        before = set(os.environ)
        try:
            load_dotenv(path, override=False)
        except (OSError, UnicodeDecodeError, ValueError) as wrong:
            raise UsageError(f"{path}: cannot be read: {wrong}") from None
        names = sorted(os.environ.keys() - before)
        say_all(f"warning: {warning}" for warning in flags_in_env_file(str(path), names))
    learn(environment_secrets())


def warn_of_variables() -> None:
    """Print a warning for each `CREWRUN_…` variable that does not exist."""
    from crewrun.cli.variables import unknown_variables

    say_all(f"warning: {warning}" for warning in unknown_variables())


def folder_of(crew: str) -> Path:
    """The folder of a crew: the crew itself if it is a folder, else its file's folder."""
    return Path(crew) if os.path.isdir(crew) else Path(crew).parent


def defaulted(**flags: Any) -> dict[str, Any]:
    """Flags of a command that takes nothing from the crew file's `batch:`, by their names in a batch; those that are
    None have the project file's defaults. Raises DefinitionError and UsageError.
    """
    from crewrun.definitions.project_file import find_defaults

    defaults = find_defaults().batch
    return {name: defaults.get(name) if value is None else value for name, value in flags.items()}


def load_crew(
    ref: str | None,
    inputs: str,
    *,
    strict: bool | None = False,
    quiet: bool | None = False,
    engine: str | None = None,
) -> "Definition":
    """The crew that `--crew` names, else that of the project file, else the one next to `inputs` or in the working
    directory; that one is named on stderr unless `quiet`. Its `batch` has the project file's defaults too.

    Each thing in it that crewrun ignores is a warning on stderr, printed once; with `strict` it is an error. For both,
    None leaves that to the file's `batch:`.
    """
    import warnings

    from crewrun.batch.locations import is_pipe
    from crewrun.definitions import find_beside, load
    from crewrun.definitions.project_file import find_defaults
    from crewrun.errors import CrewrunWarning
    from crewrun.library_warnings import show_again

    project = find_defaults()
    say_all(f"warning: {warning}" for warning in project.warnings)
    crew = ref or project.crew or str(find_beside(None if inputs == "-" else Path(inputs)))
    load_env(folder_of(crew))
    warn_of_variables()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CrewrunWarning)
        definition = project.under(load(crew, strict=bool(strict), engine=engine or project.engine))
    show_again([warning for warning in caught if not issubclass(warning.category, CrewrunWarning)])
    ours = [str(warning.message) for warning in caught if issubclass(warning.category, CrewrunWarning)]
    ours += definition.target.tool_problems
    if definition.batch.get("strict") if strict is None else strict:
        ours += definition.target.missing_tool_keys  # else `check_tools` decides
        if ours:
            raise UsageError("\n".join(ours))
    for message in dict.fromkeys(ours):
        say_all(f"warning: {message}".split("\n"))
    is_quiet = definition.batch.get("quiet") if quiet is None else quiet
    if not (ref or project.crew or is_quiet or is_pipe(inputs)) and _are_apart(folder_of(crew), Path(inputs).parent):
        say_all([f"crew: {crew} from the working directory, as there is none next to {inputs}"])
    return definition


def _are_apart(folder: Path, other: Path) -> bool:
    return os.path.realpath(folder) != os.path.realpath(other)
