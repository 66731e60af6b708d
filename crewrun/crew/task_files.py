"""The `input_files` of a crew's tasks: checked before a kickoff, and attached to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crewrun.crew.process import task_name
from crewrun.crew.task import Task
from crewrun.errors import DefinitionError, InputInvalid
from crewrun.files.attachment import Attachment, attach, check
from crewrun.files.file import File
from crewrun.files.folder import row_folder


def attach_files(
    tasks: Sequence[Task],
    files: Mapping[str, File],
    inputs: Mapping[str, Any] | None,
    folder: Path | None,
    *,
    reads: bool = True,
) -> dict[Task, tuple[Attachment, ...]]:
    """The files of each task: its own, and the kickoff's `files` unless the task has one of the same name.

    Raises InputInvalid. `attach` says what happens without `reads`.
    """
    attached: dict[Task, tuple[Attachment, ...]] = {}
    for position, task in enumerate(tasks):
        if task_files := {**files, **task.input_files}:
            where = folder or row_folder()
            attached[task] = tuple(attach(task_files, inputs or {}, where, _field(task, position), reads=reads))
    return attached


def check_fixed_files(tasks: Sequence[Task], folder: Path | None) -> None:
    """Raise DefinitionError for a file that is the same for all rows and cannot be read."""
    for position, task in enumerate(tasks):
        fixed = {name: file for name, file in task.input_files.items() if not file.varies}
        try:
            check(fixed, {}, folder or row_folder(), _field(task, position))
        except InputInvalid as invalid:
            raise DefinitionError(str(invalid)) from None


def problem_with_files(tasks: Sequence[Task], inputs: Mapping[str, Any], folder: Path | None) -> str | None:
    """Why a file that `inputs` name cannot be read, None if all can."""
    for position, task in enumerate(tasks):
        by_row = {name: file for name, file in task.input_files.items() if file.varies}
        try:
            check(by_row, inputs, folder or row_folder(), _field(task, position))
        except InputInvalid as invalid:
            return str(invalid)
    return None


def _field(task: Task, position: int) -> str:
    return f"tasks.{task_name(task, position)}.input_files"
