"""`input()` in the user's code: it returns a placeholder while code is loaded, and a field of the row in a row.

Standard input may be where the rows come from, so it is never read for an answer. `asking` replaces the functions that
ask for the time of a block, `answering` for a row.
"""

import builtins
import getpass
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from crewrun.errors import CrewrunError, InputInvalid
from crewrun.loading.answer_uses import Use, use_of
from crewrun.loading.load import Load, current_load, is_offline_row, row_inputs
from crewrun.loading.placeholder import Placeholder
from crewrun.loading.user_code import place_in, place_raised, users_frame

_NOT_READ = "standard input is not read while a file is loaded"
# A loop over a few steps may wait for Enter after each; an endless one has to be stopped.
_MOST_PAUSES = 20
# For code that catches InputInvalid and asks again until it gets a valid answer.
_MOST_UNANSWERED = 100
_SECRETS = ("key", "token", "secret", "password", "passwd")


class _Standard:
    """The process's own functions and stream for questions, and how many blocks have replaced them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # protects the count and the replacement that goes with it
        self.blocks = 0
        self.input: Callable[..., str] = builtins.input
        self.getpass: Callable[..., str] = getpass.getpass
        self.stdin: Any = None


_standard = _Standard()


@contextmanager
def asking() -> Iterator[None]:
    """In the block, code that is loaded or runs for a row asks no person; other code asks as usual."""
    with _standard.lock:
        _standard.blocks += 1
        if _standard.blocks == 1:
            _standard.input, _standard.getpass, _standard.stdin = builtins.input, getpass.getpass, sys.stdin
            builtins.input, getpass.getpass, sys.stdin = _input, _getpass, _Stdin(sys.stdin)
    try:
        yield
    finally:
        with _standard.lock:
            _standard.blocks -= 1
            if _standard.blocks == 0:
                builtins.input, getpass.getpass = _standard.input, _standard.getpass
                if isinstance(sys.stdin, _Stdin):
                    sys.stdin = _standard.stdin


@contextmanager
def answering(inputs: Mapping[str, Any], *, is_offline: bool = False) -> Iterator[None]:
    """The block runs for a row with these inputs: they answer `input()`, by the name that its result is assigned to.

    Raises InputInvalid in the user's code if the row has no such field, and RepeatedQuestion if the code keeps asking.
    Raises InputInvalid here if the line that asks cannot use the answer, as in `int(input())`. With `is_offline`,
    ModelCalled ends calls of models by the user's own clients.
    """
    questions = Questions()
    token, questions_token = row_inputs.set(inputs), _questions.set(questions)
    offline_token = is_offline_row.set(is_offline)
    try:
        with asking():
            yield
    except (ValueError, TypeError, LookupError) as failed:
        if (why := questions.unfit(failed)) is None:
            raise
        raise InputInvalid(why) from failed
    finally:
        is_offline_row.reset(offline_token)
        _questions.reset(questions_token)
        row_inputs.reset(token)


class RepeatedQuestion(SystemExit):
    """Ends the code of a row that repeats a question whatever the answer: its loop would ask, and pay, forever."""


@dataclass(slots=True)
class Questions:
    """How often each place asked the row, in `times`. `end` says where a repeated question ended the row's code."""

    times: Counter[str] = field(default_factory=Counter)
    end: str | None = None
    answers: dict[str, str] = field(default_factory=dict)  # the field that answered last, by place

    def note(self, place: str, call: str, most: int, reason: str = "has given its answer") -> None:
        """Count a question. Raises RepeatedQuestion if it was asked more than `most` times."""
        self.times[place] += 1
        if self.times[place] > most:
            self.end = f"{place.partition(' ')[0]}: {call} asks the row again, which {reason}"
            raise RepeatedQuestion(self.end)

    def unfit(self, failed: Exception) -> str | None:
        """What is wrong with an answer if `failed` was raised by the very line that asked for it, else None."""
        place = place_raised(failed)
        name = None if isinstance(failed, CrewrunError) or place is None else self.answers.get(place)
        return None if name is None else f"{place}: field {name!r} does not fit: {type(failed).__name__}: {failed}"


_questions: ContextVar[Questions | None] = ContextVar("crewrun_questions", default=None)


def questions_of_row() -> Questions | None:
    """The questions to the row that runs here; None outside of `answering`."""
    return _questions.get()


def _input(prompt: object = "", /) -> str:
    answer = _answer(f"input({prompt!r})" if prompt else "input()", sys._getframe(1))
    return _standard.input(prompt) if answer is None else answer


def _getpass(prompt: str = "Password: ", *args: Any, **kwargs: Any) -> str:
    answer = _answer(f"getpass({prompt!r})", sys._getframe(1), is_secret=True)
    return _standard.getpass(prompt, *args, **kwargs) if answer is None else answer


def _answer(call: str, frame: FrameType, *, is_secret: bool = False) -> str | None:
    """The answer to `call` in `frame`; None if the user may be asked."""
    load, inputs = current_load(), row_inputs.get()
    if load is None and inputs is None:
        return None
    use = use_of(users_frame(frame) or frame)
    if load is not None:
        return _placeholder(load, call, use, is_secret=is_secret)
    assert inputs is not None  # noqa: S101  (there is a load or a row)
    questions, place = _questions.get() or Questions(), place_in(frame) or call
    if use.name is None and use.is_unused:
        questions.note(place, call, _MOST_PAUSES)
        return ""
    if use.name is not None and use.name in inputs:
        questions.note(f"{place} ({use.name})", call, 1)
        questions.answers[place] = use.name
        return str(inputs[use.name])
    field = f"the field {use.name!r}, which it does not have" if use.name else "no field, as it is assigned to no name"
    questions.note(f"{place} (unanswered)", call, _MOST_UNANSWERED, f"answers with {field}")
    raise InputInvalid(f"{place_in(frame)}: {call} is answered by the row, with {field}")


def _placeholder(load: Load, call: str, use: Use, *, is_secret: bool) -> str:
    def refuse(doing: str) -> BaseException:
        return load.stop(
            f"{call}, whose answer is {doing}",
            "nobody is asked while a file is loaded",
            "; put it into a function that makes the crew: the rows answer it there, by the name it is assigned to",
        )

    if use.is_unused:
        return ""
    if is_secret or use.is_variable or (use.name and use.name.lower().endswith(_SECRETS)):
        raise load.stop(f"{call}, which asks for a secret", "nobody is asked", "; export it, or put it into .env")
    if use.name is None or use.doing is not None:
        raise refuse(use.doing or "assigned to no name")
    return Placeholder.named(use.name, refuse)


class _Stdin:
    """Standard input that code in a load or a row cannot read. Other code reads it as usual."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        if name == "buffer" and (load := current_load()) is not None:
            raise load.stop("sys.stdin.buffer", _NOT_READ)
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        if (load := current_load()) is not None:
            raise load.stop("reading sys.stdin line by line", _NOT_READ)
        return iter(self._stream)

    def __next__(self) -> str:
        return self.readline()

    def read(self, size: int = -1) -> str:
        """The rest of the stream, or the answer to a question."""
        answer = _answer("sys.stdin.read()", sys._getframe(1))
        return self._stream.read(size) if answer is None else answer

    def readline(self, size: int = -1) -> str:
        """A line, or the answer to a question."""
        answer = _answer("sys.stdin.readline()", sys._getframe(1))
        return self._stream.readline(size) if answer is None else answer

    def close(self) -> None:
        """Do nothing in code that may not read it, since exit() closes standard input."""
        if current_load() is None and row_inputs.get() is None:
            self._stream.close()
