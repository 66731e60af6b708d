"""`Placeholder`: the text `{topic}` that stands for an answer which only a row can give."""

import sys
from collections.abc import Callable
from typing import Any, Self, SupportsIndex

from crewrun.loading.user_code import is_users

_SAME = ("strip", "lstrip", "rstrip")
_REFUSED = (
    *("__contains__", "__eq__", "__ge__", "__getitem__", "__gt__", "__iter__", "__le__", "__len__", "__lt__"),
    *("__mod__", "__mul__", "__ne__", "__rmul__", "capitalize", "casefold", "center", "count", "encode", "endswith"),
    *("expandtabs", "find", "format", "format_map", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit"),
    *("isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "ljust", "lower"),
    *("partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit"),
    *("split", "splitlines", "startswith", "swapcase", "title", "translate", "upper", "zfill"),
)


class Placeholder(str):
    """A text that may be put into other texts. The user's code cannot do anything that depends on its value.

    Libraries may compare and measure it like any other text.
    """

    __slots__ = ("_refuse",)
    _refuse: Callable[[str], BaseException]

    @classmethod
    def named(cls, name: str, refuse: Callable[[str], BaseException]) -> Self:
        """The placeholder of the input `name`. `refuse` makes the exception for a use of its value."""
        self = cls(f"{{{name}}}")
        self._refuse = refuse
        return self

    __hash__ = str.__hash__

    def __bool__(self) -> bool:
        return True

    def __format__(self, spec: str) -> str:
        if spec:
            raise self._refuse("formatted")
        return str(self)

    def __int__(self) -> int:
        raise self._refuse("used as a number")

    def __index__(self) -> int:
        raise self._refuse("used as a number")

    def __float__(self) -> float:
        raise self._refuse("used as a number")

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return str, (str(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _checked(name: str) -> Callable[..., Any]:
    usual = getattr(str, name)
    doing = {"__eq__": "compared", "__ne__": "compared"}.get(name, f"used in a way (`{name.strip('_')}`) that needs it")

    def method(self: Placeholder, *args: Any, **kwargs: Any) -> Any:
        if is_users(sys._getframe(1).f_code.co_filename):
            raise self._refuse(doing)
        return usual(self, *args, **kwargs)

    return method


def _unchanged(name: str) -> Callable[..., Placeholder]:
    def method(self: Placeholder, characters: str | None = None) -> Placeholder:
        return self

    method.__name__ = name
    return method


for _name in _REFUSED:
    setattr(Placeholder, _name, _checked(_name))
for _name in _SAME:
    setattr(Placeholder, _name, _unchanged(_name))
