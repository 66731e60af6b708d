"""A row as the command line of code that uses argparse: the field `topic` is the argument `--topic`."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from crewrun.errors import InputInvalid
from crewrun.loading.load import current_load, row_inputs
from crewrun.loading.user_code import frames_from, is_users, place_in

_parse = argparse.ArgumentParser.parse_known_args
_error = argparse.ArgumentParser.error


def install() -> None:
    """Let rows answer `parse_args()` from now on, in the whole process."""
    argparse.ArgumentParser.parse_known_args = _parse_known_args  # type: ignore[method-assign]
    argparse.ArgumentParser.error = _refuse  # type: ignore[method-assign]


def _row() -> Mapping[str, Any] | None:
    """The inputs of the row that runs here; None outside of rows and while code is loaded."""
    return row_inputs.get() if current_load() is None else None


def _parse_known_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
    inputs = _row() if args is None and not _is_library() else None
    return _parse(self, args if inputs is None else list(command_line(self, inputs)), namespace)


def _is_library() -> bool:
    """Whether a library parses the process's arguments, without any of the user's code waiting for them."""
    callers = (frame.f_code.co_filename for frame in frames_from(sys._getframe(2)))
    return not is_users(next(file for file in callers if file != argparse.__file__))


def _refuse(self: argparse.ArgumentParser, message: str) -> NoReturn:
    if current_load() is not None:
        raise SystemExit(2)  # without usage on stderr: the load reports it
    if _row() is None:
        _error(self, message)
    place = place_in(sys._getframe(1))
    raise InputInvalid(f"{place or self.prog}: parse_args() is answered by the row's fields: {message}")


def command_line(parser: argparse.ArgumentParser, inputs: Mapping[str, Any]) -> Iterator[str]:
    """The arguments that pass the fields of `inputs` to `parser`; fields that it does not have are left out."""
    plain: list[str] = []
    inner: list[str] = []
    for action in parser._actions:
        value = inputs.get(action.dest)
        if value is None or value == "":
            continue
        if isinstance(action, argparse._SubParsersAction):
            inner = [str(value)]
            if (chosen := action.choices.get(str(value))) is not None:
                inner += command_line(chosen, inputs)
        elif action.option_strings:
            yield from _option(action, value)
        else:
            plain += _words(value)
    if inner:
        yield from (*plain, *inner)
    elif plain:
        yield from ("--", *plain)


def _option(action: argparse.Action, value: Any) -> Iterator[str]:
    flag = max(action.option_strings, key=len)
    if isinstance(action, argparse.BooleanOptionalAction):
        is_on = _is_true(value)
        yield next(name for name in action.option_strings if name.startswith("--no-") is not is_on)
    elif action.nargs == 0:
        # A flag stands for its constant: `--quiet` may be the flag that makes `verbose` false.
        times = value if isinstance(value, int) and isinstance(action, argparse._CountAction) else 1
        if isinstance(action, argparse._CountAction) or _is_true(value) == bool(action.const):
            yield from [flag] * int(times)
    elif action.nargs in (None, "?"):
        for word in _words(value) if isinstance(action, argparse._AppendAction) else [_word(value)]:
            yield f"{flag}={word}"
    else:
        yield from (flag, *_words(value))


def _is_true(value: Any) -> bool:
    return value.strip().lower() not in ("false", "no", "0", "off") if isinstance(value, str) else bool(value)


def _words(value: Any) -> Sequence[str]:
    return [_word(each) for each in value] if isinstance(value, list | tuple) else [_word(value)]


def _word(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)
