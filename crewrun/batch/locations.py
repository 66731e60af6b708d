"""Where a batch reads and writes: input, results, run folder and summary.

The functions raise UsageError for what would otherwise go wrong in the middle of a run.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crewrun.batch.descriptors import descriptor_of
from crewrun.batch.settings import BatchSettings
from crewrun.batch.shard import Shard
from crewrun.batch.source import STDIN, TableSource, open_source, openable, stat_of
from crewrun.errors import UsageError
from crewrun.inspect.view import nearby
from crewrun.run_files import FOLDER_SUFFIX, RESULTS_SUFFIX
from crewrun.runs.folder import RunFolder, folder_of
from crewrun.runs.manifest import is_foreign
from crewrun.tables.suffixes import COMPRESSIONS, FORMATS_BY_SUFFIX
from crewrun.tables.writing.layout import TableLayout
from crewrun.unfinished import temporary

# How much longer than the results' name a name may get: the number that --fresh adds, and the suffix of the run folder.
_ADDED_BYTES = len(f".999{FOLDER_SUFFIX}")


@dataclass(frozen=True, slots=True)
class Places:
    """Where a batch writes: `output` is the file that the user gets, None for standard output; `folder` has the run's
    state. With a `table`, the output is made of the lines of the results, else it consists of them.
    """

    output: str | None
    folder: RunFolder | None
    table: TableLayout | None = None

    @property
    def is_stream(self) -> bool:
        """Whether results go to standard output, or a pipe."""
        return self.output is None or is_pipe(self.output)

    @property
    def results(self) -> Path | None:
        """Where lines are appended, with links resolved; a pipe has its own name, standard output none."""
        if self.output is None or self.table is None or self.is_stream or self.folder is None:
            return real_path(self.output)
        return Path(os.path.realpath(self.folder.results))


def output_path(inputs: str, output: str | None, shard: Shard | None = None, form: str | None = None) -> str | None:
    """The results file, None for standard output. As with gzip, a file gives a file next to it, a stream a stream.

    Each shard has its own file. `form` is the format that its name says, by default JSONL.
    """
    if output == STDIN or (output is None and is_pipe(inputs)):
        return None
    if output is not None:
        return output
    stem = inputs
    for suffix in (*COMPRESSIONS, *FORMATS_BY_SUFFIX):
        stem = stem.removesuffix(suffix)
    return f"{stem}{shard.suffix if shard else ''}{RESULTS_SUFFIX.removesuffix('jsonl')}{form or 'jsonl'}"


def check_output(output: str | None) -> None:
    """Raise UsageError when results cannot be written to `output`."""
    if output is None:
        return
    try:
        if os.path.isdir(output):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = os.path.dirname(output) or "."
        os.stat(os.path.join(folder, ""))
        if not os.access(output if os.path.exists(output) else folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as refused:
        raise UsageError(f"{output}: cannot be written: {refused.strerror}") from None


def check_sortable(output: str | None, settings: BatchSettings) -> None:
    """Raise UsageError for --ordered with --canary on a stream: the canary's rows come first, and cannot be sorted."""
    if settings.canary and settings.ordered and (output is None or is_pipe(output)):
        raise UsageError("--canary --ordered: a stream cannot be sorted when rows run out of order; name a file by -o")


def real_path(output: str | None) -> Path | None:
    """The results file with links resolved; a pipe keeps the name that the user wrote."""
    return None if output is None else Path(output if is_pipe(output) else os.path.realpath(output))


def run_folder(output: str | None, settings: BatchSettings) -> RunFolder | None:
    """Where the run's state is: in --run-dir, or next to a results file; None for a stream without --run-dir.

    Raises UsageError when it cannot be there, or the folder belongs to something else.
    """
    is_file = output is not None and (os.path.isfile(output) or not os.path.exists(output))
    if settings.run_dir is not None:
        if os.path.exists(settings.run_dir) and not os.path.isdir(settings.run_dir):
            raise UsageError(f"--run-dir {settings.run_dir}: is not a folder")
        _check_length(output if output is not None and is_file else settings.run_dir)
        folder = RunFolder(Path(settings.run_dir))
        if is_foreign(folder.manifest, torn=not folder.journal.exists()):
            raise UsageError(
                f"--run-dir {settings.run_dir}: has a {folder.manifest.name} that is not a run's; name another folder"
            )
        return folder
    if output is not None and is_file:
        _check_length(output)
        return _folder_of_link(output, fresh=settings.fresh)
    for flag, is_set in (
        ("--fresh", settings.fresh),
        ("--replay", settings.replay),
        ("--log-prompts", settings.log_prompts),
        ("--report", settings.report is not None),
    ):
        if is_set:
            raise UsageError(f"{flag}: results that go to a stream have no journal; name a file with -o, or --run-dir")
    return None


def _folder_of_link(output: str, *, fresh: bool) -> RunFolder:
    """The run folder next to the file that `output` names, with links resolved."""
    path = os.path.realpath(output)
    folder, old = folder_of(Path(path)), folder_of(Path(output))
    if os.path.islink(output) and old.is_used and not folder.is_used and not fresh:
        raise UsageError(
            f"{output}: is a link to {nearby(path)} now, and the state of its run is still {old.path}; "
            f"move that to {nearby(folder.path)}, or --fresh starts over"
        )
    return folder


def _check_length(path: str) -> None:
    folder, name = os.path.split(os.path.realpath(path))
    try:
        most_bytes = os.pathconf(folder, "PC_NAME_MAX")
    except OSError:
        return  # the folder does not exist; `check_output` has the better message
    excess = len(os.fsencode(name)) + _ADDED_BYTES - most_bytes
    if excess > 0:
        more = f"a run's folder is named after it, which takes {_ADDED_BYTES} bytes more"
        raise UsageError(f"{path}: too long a name: {more}")


def rows_opener(inputs: str, settings: BatchSettings, name: str | None = None) -> Callable[[], TableSource]:
    """A function that opens the rows of `inputs` that the settings select, each time from the start. `name` is what
    messages call the input.
    """
    return partial(open_source, inputs, settings.input_options, offset=settings.offset, limit=settings.limit, name=name)


def spooled(inputs: str, files: ExitStack) -> str:
    """`inputs` as a file that can be read twice: a pipe is copied to a temporary file."""
    if not is_pipe(inputs):
        return inputs
    suffix = "" if inputs == STDIN else "".join(Path(inputs).suffixes)
    copy = files.enter_context(tempfile.NamedTemporaryFile(suffix=suffix))  # noqa: SIM115  (closed with files)
    files.enter_context(temporary(copy.name))
    with open(openable(inputs), "rb") as pipe:
        shutil.copyfileobj(pipe, copy)
    copy.flush()
    return copy.name


def is_pipe(inputs: str) -> bool:
    """Whether rows come from standard input, a FIFO or a process substitution, and not from a file on disk."""
    return inputs == STDIN or (os.path.exists(inputs) and not os.path.isfile(inputs) and not os.path.isdir(inputs))


def check_not_input(inputs: str, output: str | None, stdout_fd: int) -> None:
    """Raise UsageError when results would be written into the input."""
    try:
        source = stat_of(inputs)
    except OSError:
        return  # opening it has the better message
    try:
        same = stat.S_ISREG(source.st_mode) and os.path.samestat(source, os.stat(output or stdout_fd))
    except OSError:
        return
    if same:
        raise UsageError(f"{output or 'standard output'}: is the input file itself; name another with -o")


def check_summary(summary: str, inputs: str, output: str | None) -> None:
    """Raise UsageError when the summary cannot be written, or would overwrite the input or the results."""
    path = Path(summary)
    if summary == STDIN or descriptor_of(summary) == 1:
        raise UsageError(f"--summary {summary}: standard output is for result lines; name a file, or /dev/stderr")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--summary {summary}: cannot be written there")
    if any(other and path.resolve() == Path(other).resolve() for other in (inputs, output)):
        raise UsageError(f"--summary {summary}: is the file of the rows; name another")
