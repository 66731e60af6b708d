"""`input()` in the user's code: a placeholder while it is loaded, the row's field of its name while a row runs.

Standard input may be where the rows come from, so it is never read for an answer. `asking` puts the functions that ask
in place for a block, `answering` does so for a row.
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
from crewrun.loading.load import Load, current_load, row_inputs, runs_offline
from crewrun.loading.placeholder import Placeholder
from crewrun.loading.user_code import place_in, place_raised, users_frame

_NOT_READ = "standard input is not read while a file is loaded"
# A loop over a few steps may wait for Enter after each; one without an end would go on forever.
_MOST_PAUSES = 20
# Code that catches the refusal and asks until it likes the answer.
_MOST_UNANSWERED = 100
_SECRETS = ("key", "token", "secret", "password", "passwd")


class _Standard:
    """The functions and the stream of the process that ask, and how many blocks have replaced them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # protects the count and the replacement that goes with it
        self.blocks = 0
        self.input: Callable[..., str] = builtins.input
        self.getpass: Callable[..., str] = getpass.getpass
        self.stdin: Any = None


_standard = _Standard()


@contextmanager
def asking() -> Iterator[None]:
    """In the block nobody is asked by code that is loaded or runs for a row; other code asks as before."""
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
    """The block runs for a row with these inputs: they answer `input()`, by the name that the answer is assigned to.
    Where it `is_offline`, clients of the user's own call no model either: ModelCalled.

    InputInvalid is raised in the user's code for one that the row does not have, and AskedAgain where that goes on. It
    is raised here for an answer that the line that asks cannot use, as in `int(input())`.
    """
    asked = Asked()
    token, asked_before, offline = row_inputs.set(inputs), _asked.set(asked), runs_offline.set(is_offline)
    try:
        with asking():
            yield
    except (ValueError, TypeError, LookupError) as failed:
        if (why := asked.unfit(failed)) is None:
            raise
        raise InputInvalid(why) from failed
    finally:
        runs_offline.reset(offline)
        _asked.reset(asked_before)
        row_inputs.reset(token)


class AskedAgain(SystemExit):
    """Ends the code of a row that asks the same again, whatever it was told: a loop would ask, and pay, forever."""


@dataclass(slots=True)
class Asked:
    """How often a row was asked in each place; `end` says where its code was ended, since it was asked again."""

    times: Counter[str] = field(default_factory=Counter)
    end: str | None = None
    answers: dict[str, str] = field(default_factory=dict)  # the field that answered last, by place

    def note(self, place: str, call: str, most: int, told: str = "has given its answer") -> None:
        """Count a question. Raises AskedAgain for one more than `most` of it."""
        self.times[place] += 1
        if self.times[place] > most:
            self.end = f"{place.partition(' ')[0]}: {call} asks the row again, which {told}"
            raise AskedAgain(self.end)

    def unfit(self, failed: Exception) -> str | None:
        """What is wrong with an answer, where `failed` was raised by the line itself that asked for it."""
        place = place_raised(failed)
        name = None if isinstance(failed, CrewrunError) or place is None else self.answers.get(place)
        return None if name is None else f"{place}: field {name!r} does not fit: {type(failed).__name__}: {failed}"


_asked: ContextVar[Asked | None] = ContextVar("crewrun_asked", default=None)


def asked_in_row() -> Asked | None:
    """What the row that runs here was asked; None outside of `answering`."""
    return _asked.get()


def _input(prompt: object = "", /) -> str:
    answer = _answer(f"input({prompt!r})" if prompt else "input()", sys._getframe(1))
    return _standard.input(prompt) if answer is None else answer


def _getpass(prompt: str = "Password: ", *args: Any, **kwargs: Any) -> str:
    answer = _answer(f"getpass({prompt!r})", sys._getframe(1), is_secret=True)
    return _standard.getpass(prompt, *args, **kwargs) if answer is None else answer


def _answer(call: str, frame: FrameType, *, is_secret: bool = False) -> str | None:
    """What is answered to `call` in `frame`; None where the user may be asked."""
    load, inputs = current_load(), row_inputs.get()
    if load is None and inputs is None:
        return None
    use = use_of(users_frame(frame) or frame)
    if load is not None:
        return _placeholder(load, call, use, is_secret=is_secret)
    assert inputs is not None  # noqa: S101  (one of both is there)
    asked, place = _asked.get() or Asked(), place_in(frame) or call
    if use.name is None and use.is_unused:
        asked.note(place, call, _MOST_PAUSES)
        return ""
    if use.name is not None and use.name in inputs:
        asked.note(f"{place} ({use.name})", call, 1)
        asked.answers[place] = use.name
        return str(inputs[use.name])
    field = f"the field {use.name!r}, which it does not have" if use.name else "no field, as it is assigned to no name"
    asked.note(f"{place} (unanswered)", call, _MOST_UNANSWERED, f"answers with {field}")
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
    """Standard input for code that must not read it; for all other code it is what it was."""

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
        """All that is left, or the answer to a question."""
        answer = _answer("sys.stdin.read()", sys._getframe(1))
        return self._stream.read(size) if answer is None else answer

    def readline(self, size: int = -1) -> str:
        """A line, or the answer to a question."""
        answer = _answer("sys.stdin.readline()", sys._getframe(1))
        return self._stream.readline(size) if answer is None else answer

    def close(self) -> None:
        """Nothing, in code that may not read it: exit() closes it."""
        if current_load() is None and row_inputs.get() is None:
            self._stream.close()
