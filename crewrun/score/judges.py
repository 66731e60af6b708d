"""`Judge`: what `--by` names, a function or a sentence, as something that a batch can run."""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crewrun.definitions.definition import Definition
from crewrun.definitions.names import NameResolver
from crewrun.errors import DefinitionError, UsageError
from crewrun.expect.arguments import OF_SCORES, wanted
from crewrun.expect.field_path import FieldPath, field_of_output
from crewrun.references import is_reference
from crewrun.score.scored_rows import OF_JUDGE
from crewrun.score.targets import ExpectationTarget, JudgeTarget, ScoreTarget
from crewrun.score.values import ONLY, REASON
from crewrun.target.base import Target

EXPECT = "expect"  # the name of the scores that say whether expectations are met
_WHAT = 'a function, module:function or file.py:function, or a sentence to judge by: --by "The answer is polite."'


@dataclass(frozen=True, slots=True)
class Judge:
    """`by` is as the user wrote it, `label` a word for it, and `file` the one that it comes from, if any. `names` are
    those of what it sees of a row, `field` is what it sees of the output, None for all of it. `scores` are the names of
    its scores, None where only its answers tell.
    """

    by: str
    label: str
    target: Target
    names: Sequence[str]
    field: FieldPath | None
    file: Path
    scores: Sequence[str] | None = None

    @property
    def kind(self) -> str:
        """What is judged, in words, as the manifest keeps it."""
        return f"scores of {self.field.text if self.field is not None else 'output'}"


def judge_by(by: str, field: str | None, folders: Sequence[str]) -> Judge:
    """The judge that `--by` names; modules and files are looked for in `folders`. Raises UsageError."""
    text = by.strip()
    if not text:
        raise UsageError(f"--by is empty; it needs {_WHAT}")
    path = _field(field)
    if is_reference(text):
        return _function(text, path, folders)
    if not _is_sentence(text):
        raise UsageError(f"--by {text!r}: names no function; it needs {_WHAT}")
    return Judge(text, "judge", JudgeTarget(text), OF_JUDGE, path, Path(os.devnull), [ONLY])


def judge_by_expectations(definition: Definition) -> Judge:
    """The judge that checks what a crew expects of its outputs. Raises UsageError if it expects nothing."""
    expected = definition.target.expectations
    if not expected.by_name:
        raise UsageError(f"--expect: {definition.path} has no expect:, so there is nothing to check")
    if REASON in expected.by_name:
        raise UsageError(f"--expect: an expectation is called {REASON!r}, which is where the reasons are; rename it")
    file = definition.path.resolve()
    target, names = ExpectationTarget(expected), list(expected.by_name)
    return Judge(f"expect: of {file.name}", EXPECT, target, ("output", "input"), None, file, names)


def _is_sentence(text: str) -> bool:
    """Whether `text` is something to judge by, rather than the name of a function with a part missing. Each text with a
    space is, unless a file has that name; one without is where its script may have no spaces.
    """
    if os.path.isfile(text):
        return False
    return len(text.split()) > 1 or not (text.isascii() or text.endswith(".py"))


def _field(field: str | None) -> FieldPath | None:
    if field is None:
        return None
    path = field_of_output(field)
    if path is None:
        raise UsageError(f"--field {field!r}: is no path; write it as in items[0].price")
    return path


def _function(reference: str, field: FieldPath | None, folders: Sequence[str]) -> Judge:
    try:
        function = NameResolver(folders).function(reference)
        names = wanted(function, reference, OF_SCORES)
    except DefinitionError as wrong:
        raise UsageError(f"--by {reference}: {str(wrong).removeprefix(f'{reference}: ')}") from None
    label = reference.rpartition(":")[2].rpartition(".")[2]
    target = ScoreTarget(function, reference, names, field.text if field is not None else None)
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called
        file = None
    return Judge(reference, label, target, names, field, Path(file or os.devnull))
