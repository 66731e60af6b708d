"""What a batch is asked to do: the command as the user wrote it, and what was loaded for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crewrun.batch.inputs import FileInputs, Inputs
from crewrun.batch.settings import BatchSettings
from crewrun.definitions.definition import Definition
from crewrun.errors import Category
from crewrun.runs.manifest import Manifest
from crewrun.terminal import say_all

if TYPE_CHECKING:
    from crewrun.batch.program_inputs import IterableInputs


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the user asked for: `inputs` and `crew` as the user wrote them, and the words of the command.

    With `only`, only rows that failed with this category run. `resume_command` is the command that continues the run,
    where it differs from `command`. `retried` is the manifest of the run that `retry` continues: its rows must not be
    run by other models than before.
    """

    inputs: str
    crew: str
    command: list[str]
    only: Category | None = None
    resume_command: str | None = None
    retried: Manifest | None = None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A batch to run. `stdout_fd` is where results go when no file is named.

    `rows` are those of a Python program; without them the invocation's `inputs` say where rows come from.
    """

    invocation: Invocation
    definition: Definition
    settings: BatchSettings
    stdout_fd: int
    rows: "IterableInputs | None" = None

    @property
    def inputs(self) -> Inputs:
        """Where the rows come from."""
        return self.rows or FileInputs(self.invocation.inputs)

    def say(self, message: str) -> None:
        """Print a message on stderr, unless --quiet is set."""
        if not self.settings.quiet:
            say_all(message.split("\n"))
