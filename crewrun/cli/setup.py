"""What the commands that run crews do first: keys from `.env`, standard output for results alone, the crew."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from crewrun.errors import UsageError
from crewrun.redaction.redactor import learn
from crewrun.redaction.values import environment_secrets
from crewrun.terminal import say_all, visible

if TYPE_CHECKING:
    from crewrun.batch.sink import StreamSink
    from crewrun.definitions.definition import Definition


T = TypeVar("T")


def run_loop(main: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run `main(*args)` in an event loop, uvloop's where it is installed."""
    from importlib.util import find_spec

    import anyio

    return anyio.run(main, *args, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def leave(code: int) -> NoReturn:
    """End the process now: a thread that waits on a dead disk or in a user's tool must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def claim_stdout() -> int:
    """Return a private descriptor of standard output, and send all other prints, of any library, to standard error."""
    sys.stdout.flush()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what users print comes when they print it
    results = os.dup(1)
    os.dup2(2, 1)
    return results


def open_stdout() -> "StreamSink":
    """Standard output, claimed, for a command whose result is text. Raises UsageError when it is closed."""
    from crewrun.batch.sink import StreamSink

    stdout_fd = claim_stdout()
    try:
        return StreamSink(stdout_fd)
    except UsageError:
        raise UsageError("standard output is closed; there is nowhere to print to") from None


def put_data(stdout: "StreamSink", text: str) -> None:
    """Print `text`, which programs read too (JSON, a page), and a newline. Raises OutputFailed, or OutputClosed when
    nobody reads it any more.
    """
    run_loop(stdout.write, [text.encode("utf-8", "replace") + b"\n"])


def tell(stdout: "StreamSink", lines: Iterable[str]) -> None:
    """Print lines for people to read, one each whatever is in it. Raises as `put_data` does."""
    put_data(stdout, "\n".join(visible(line) for line in lines))


def load_env(folder: Path | None = None) -> None:
    """Take variables that are not set from `.env` in `folder`, the working directory by default.

    Raises UsageError when it is unreadable.
    """
    path = (folder or Path()) / ".env"
    if os.path.isfile(path):  # pathlib's raises for a name that is too long
        from dotenv import load_dotenv

        try:
            load_dotenv(path, override=False)
        except (OSError, UnicodeDecodeError, ValueError) as wrong:
            raise UsageError(f"{path}: cannot be read: {wrong}") from None
    learn(environment_secrets())


def folder_of(crew: str) -> Path:
    """The folder that a crew is in: itself, or where its file is."""
    return Path(crew) if os.path.isdir(crew) else Path(crew).parent


def load_crew(ref: str | None, inputs: str, *, strict: bool | None = False, engine: str = "crewrun") -> "Definition":
    """The crew that `--crew` names, else the one beside `inputs` or in the working directory.

    What it has that crewrun goes on without is said on stderr, once each; with `strict` it is an error. None leaves
    that to the file's `batch:`.
    """
    import warnings

    from crewrun.definitions import find_beside, load
    from crewrun.errors import CrewrunWarning
    from crewrun.library_warnings import show_again

    crew = ref or str(find_beside(None if inputs == "-" else Path(inputs)))
    load_env(folder_of(crew))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CrewrunWarning)
        definition = load(crew, strict=bool(strict), engine=engine)
    show_again([warning for warning in caught if not issubclass(warning.category, CrewrunWarning)])
    ours = [str(warning.message) for warning in caught if issubclass(warning.category, CrewrunWarning)]
    ours += definition.target.tool_problems
    if definition.batch.get("strict") if strict is None else strict:
        ours += definition.target.missing_tool_keys  # else `check_tools` decides
        if ours:
            raise UsageError("\n".join(ours))
    for message in dict.fromkeys(ours):
        say_all(f"warning: {message}".split("\n"))
    return definition
