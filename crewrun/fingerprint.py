"""`fingerprint`: whether two objects that a user defined, such as a crew or a tool, would do the same.

It goes over what they say, texts, settings and the source of functions and classes, and not over how the file that they
come from is formatted. Equal fingerprints do not promise equal behaviour: what a function calls elsewhere is not seen.
"""

import inspect
import json
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from hashlib import blake2b
from types import MethodType
from typing import Any

from pydantic import BaseModel

# Secrets, and what changes how much is printed: neither changes what is done.
_LEFT_OUT = frozenset({"api_key", "verbose"})
# Fields that came later: where they are empty, what was done before there were any is known by the same.
_ADDED = frozenset({"input_files", "base_model", "tool_failure_policy"})
_MAX_DEPTH = 50
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def fingerprint(value: Any) -> str:
    """32 hex digits over `value` and all that it is made of."""
    told = json.dumps(_Teller().tell(value), sort_keys=True, separators=(",", ":"))
    return blake2b(told.encode(), digest_size=16).hexdigest()


class _Teller:
    """Turns objects into JSON. One that comes again is told by its number, so circles end."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no later object gets the id of one that is gone
        self._depth = 0

    def tell(self, value: Any) -> Any:
        """`value` as JSON."""
        if value is None or isinstance(value, bool | int | float | str):
            return (
                value if type(value) in (type(None), bool, int, float, str) else [type(value).__qualname__, str(value)]
            )
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        if self._depth >= _MAX_DEPTH:
            return type(value).__qualname__
        self._depth += 1
        try:
            return self._told(value)
        finally:
            self._depth -= 1

    def _told(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self.tell(inner) for key, inner in value.items() if key not in _LEFT_OUT}
        if isinstance(value, bytes):
            return blake2b(value, digest_size=16).hexdigest()
        if isinstance(value, list | tuple):
            return [self.tell(inner) for inner in value]
        if isinstance(value, set | frozenset):
            return sorted(json.dumps(self.tell(inner), sort_keys=True) for inner in value)
        if isinstance(value, type):
            return self._told_class(value)
        if isinstance(value, partial):
            return [self.tell(value.func), self.tell(value.args), self.tell(value.keywords)]
        if isinstance(value, MethodType):
            return [self.tell(value.__func__), self.tell(value.__self__)]
        if isinstance(value, BaseModel):
            own = getattr(value, "__fingerprint__", None)
            told = own() if own is not None else {**value.__dict__, **(value.model_extra or {})}
            told = {name: inner for name, inner in told.items() if inner or name not in _ADDED}
            return [self.tell(type(value)), self.tell(told)]
        if is_dataclass(value):
            return [self.tell(type(value)), self.tell({f.name: getattr(value, f.name, None) for f in fields(value)})]
        if inspect.isroutine(value):
            return [_name(value), _source(value)]
        return self.tell(type(value))

    def _told_class(self, kind: type) -> Any:
        bases = [self.tell(base) for base in kind.__mro__[1:] if _is_users(base)]
        return [_name(kind), _source(kind), bases]


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"


def _source(value: Any) -> str | None:
    """The source text of the user's own functions and classes; libraries are known by their names."""
    if not _is_users(value):
        return None
    try:
        return inspect.getsource(inspect.unwrap(value) if callable(value) else value)
    except (OSError, TypeError, ValueError):
        code = getattr(value, "__code__", None)
        return None if code is None else code.co_code.hex()


def _is_users(value: Any) -> bool:
    module = getattr(value, "__module__", None) or ""
    if module.partition(".")[0] in ("crewrun", "builtins"):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not file.startswith(_LIBRARIES)
