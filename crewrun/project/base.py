"""`CrewBase`: the decorator of a crew class. It needs no metaclass and leaves `__init__` alone."""

import os
import sys
from functools import cached_property
from typing import Any, TypeVar, get_args

from crewrun.project.config import ConfigAttribute, EntryKind
from crewrun.project.fresh_crew import fresh_crew
from crewrun.project.marks import names_of

C = TypeVar("C", bound=type)

_MCP_CONNECT_TIMEOUT_S = 30  # as in CrewAI


def CrewBase(cls: C) -> C:  # noqa: N802  (CrewAI's name for it)
    """Make `cls` a crew class: it gets `agents_config`, `tasks_config`, `agents`, `tasks`.

    `agents_config` and `tasks_config` are dicts by name, read from YAML files. Class attributes of these names may give
    the paths, relative to the class's file; the defaults are `config/agents.yaml` and `config/tasks.yaml`. Names in an
    entry are replaced by what the decorated methods make. `agents` and `tasks` are lists of what all `@agent` and
    `@task` methods make. Subclasses are crew classes too.

    Each is made when it is first used, which may raise DefinitionError.
    """
    _set_up(cls)
    _set_up_subclasses(cls)
    return cls


def _set_up(cls: type) -> None:
    # CrewAI marks its crew classes with the same attribute, so that one check recognises both.
    attributes: dict[str, Any] = {"is_crew_class": True, "base_directory": _folder(cls)}
    attributes["_crewrun_crews"] = names_of(cls, "crew")
    attributes["_crewrun_fresh_crew"] = fresh_crew
    folders = [_folder(part) for part in cls.__mro__ if part is cls or "is_crew_class" in vars(part)]
    for kind in get_args(EntryKind):
        value = getattr(cls, f"{kind}s_config", f"config/{kind}s.yaml")
        attributes[f"{kind}s_config"] = ConfigAttribute(kind, value, folders)
        attributes[f"{kind}s"] = _all_made(kind)
    if not hasattr(cls, "get_mcp_tools"):
        attributes["get_mcp_tools"] = _mcp_tools
    for name, value in attributes.items():
        setattr(cls, name, value)


def _set_up_subclasses(cls: type) -> None:
    own = vars(cls).get("__init_subclass__")

    def set_up_too(sub: type, /, **kwargs: Any) -> None:
        if own is not None:
            own.__get__(None, sub)(**kwargs)
        else:
            super(cls, sub).__init_subclass__(**kwargs)  # type: ignore[arg-type]  # `cls` is a class
        _set_up(sub)

    type.__setattr__(cls, "__init_subclass__", classmethod(set_up_too))


def _all_made(kind: EntryKind) -> Any:
    def made(self: Any) -> list[Any]:
        return [getattr(self, name)() for name in names_of(type(self), kind)]

    attribute = cached_property(made)
    attribute.__set_name__(object, f"{kind}s")
    return attribute


def _folder(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return os.path.dirname(os.path.abspath(getattr(module, "__file__", None) or "x"))


def _mcp_tools(self: Any, *names: str) -> list[Any]:
    """The tools in `names`, or all, of the servers in the attribute `mcp_server_params`; none without that.

    The servers are shared by all rows; one that does not answer within `mcp_connect_timeout` seconds has failed. Raises
    DefinitionError for parameters that name no server.
    """
    params = getattr(self, "mcp_server_params", None)
    if not params:
        return []
    from crewrun.mcp.adapter import MCPServerAdapter  # few classes have servers

    timeout_s = getattr(self, "mcp_connect_timeout", _MCP_CONNECT_TIMEOUT_S)
    return MCPServerAdapter(params, connect_timeout=timeout_s).tools.filter_by_names(names or None)
