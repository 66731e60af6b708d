"""`fingerprint`: tells whether two objects that a user defined, such as crews or tools, would do the same.

It covers texts, settings and the source of functions and classes, but not the formatting of the file that they come
from. Equal fingerprints do not guarantee equal behaviour: code that a function calls elsewhere is not covered.
"""

import inspect
import json
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import blake2b
from types import CodeType, EllipsisType, MethodType
from typing import Any

from pydantic import BaseModel

# Secrets, and how much is printed: neither changes what a crew does.
_LEFT_OUT = frozenset({"api_key", "verbose"})
# Fields that were added later. Left out while empty, so that fingerprints from before they existed stay valid.
_ADDED = frozenset({"input_files", "base_model", "tool_failure_policy"})
# Deeper values count by their class alone: no crew is nested that deep, and Python's recursion limit is far off.
_MAX_DEPTH = 50
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def fingerprint(value: Any, base_url: str | EllipsisType | None = ...) -> str:
    """32 hex digits over `value` and everything that it consists of, with `base_url` as `as_data` takes it."""
    text = json.dumps(as_data(value, base_url), sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def as_data(value: Any, base_url: str | EllipsisType | None = ...) -> Any:
    """What the fingerprint of `value` is computed from, as JSON.

    With `base_url`, that stands in place of every model's own, where it has one.
    """
    return _Encoder(base_url).encode(value)


class _Encoder:
    """Turns objects into JSON. A repeated object is encoded as its number, so that cycles end."""

    def __init__(self, base_url: str | EllipsisType | None = ...) -> None:
        self._base_url = base_url
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no later object can get the id of one that is gone
        self._depth = 0

    def encode(self, value: Any) -> Any:
        """`value` as JSON."""
        if value is None or isinstance(value, bool | int | float | str):
            return (
                value if type(value) in (type(None), bool, int, float, str) else [type(value).__qualname__, str(value)]
            )
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        if self._depth >= _MAX_DEPTH:
            return type(value).__qualname__
        self._depth += 1
        try:
            return self._encode_object(value)
        finally:
            self._depth -= 1

    def _encode_object(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.encode(inner) for key, inner in value.items() if key not in _LEFT_OUT}
        if isinstance(value, bytes):
            return blake2b(value, digest_size=16).hexdigest()
        if isinstance(value, list | tuple):
            return [self.encode(inner) for inner in value]
        if isinstance(value, set | frozenset):
            return sorted(json.dumps(self.encode(inner), sort_keys=True) for inner in value)
        if isinstance(value, type):
            return self._encode_class(value)
        if isinstance(value, partial):
            return [self.encode(value.func), self.encode(value.args), self.encode(value.keywords)]
        if isinstance(value, MethodType):
            return [self.encode(value.__func__), self.encode(value.__self__)]
        if isinstance(value, BaseModel):
            own = getattr(value, "__fingerprint__", None)
            items = own() if own is not None else {**value.__dict__, **(value.model_extra or {})}
            items = {name: inner for name, inner in items.items() if inner or name not in _ADDED}
            if self._base_url is not ... and hasattr(value, "__has_address__") and items.get("base_url") is not None:
                items["base_url"] = self._base_url
            return [self.encode(type(value)), self.encode(items)]
        if is_dataclass(value):
            own = getattr(value, "__fingerprint__", None)
            if own is not None:
                return [self.encode(type(value)), self.encode(own())]
            return [
                self.encode(type(value)),
                self.encode({f.name: getattr(value, f.name, None) for f in fields(value)}),
            ]
        if inspect.isroutine(value):
            return [_name(value), _source(value)]
        return self.encode(type(value))

    def _encode_class(self, kind: type) -> Any:
        bases = [self.encode(base) for base in kind.__mro__[1:] if _is_users(base)]
        source: Any = _source(kind)
        if source is None and _is_users(kind):  # of a notebook's cell, where only functions have one
            source = {name: self.encode(value) for name, value in _own(kind).items()}
        return [_name(kind), source, bases]


def _own(kind: type) -> dict[str, Any]:
    """What the user has written into a class, as far as it can be told: functions, and values of plain types."""
    values = {name: getattr(value, "__func__", value) for name, value in vars(kind).items()}
    return {
        name: value
        for name, value in sorted(values.items())
        if inspect.isfunction(value) or (not name.startswith("__") and isinstance(value, str | int | float))
    }


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _source(value: Any) -> str | None:
    """The source of the user's own functions and classes; those of libraries are identified by name alone."""
    if not _is_users(value):
        return None
    try:
        return inspect.getsource(inspect.unwrap(value) if callable(value) else value)
    except (OSError, TypeError, ValueError):
        code = getattr(value, "__code__", None)
        return None if code is None else _compiled(code)


def _compiled(code: CodeType) -> str:
    """A function whose source is gone, such as one of an interactive session."""
    consts = [
        _compiled(one)
        if isinstance(one, CodeType)
        else sorted(map(repr, one))
        if isinstance(one, frozenset)
        else repr(one)
        for one in code.co_consts
    ]
    return json.dumps([code.co_code.hex(), code.co_names, consts])


def _is_users(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    if module.partition(".")[0] in ("crewrun", "builtins"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not file.startswith(_LIBRARIES)
