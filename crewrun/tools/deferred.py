"""`DeferredTools`: an entry of `tools` that stands for tools which are known once a server has listed them.

The user's code is loaded without a network, so that a list of such tools cannot be read then. The entry goes where the
tools would; an agent gets the tools when it first works.
"""

from abc import abstractmethod
from typing import Any

from crewrun.tools.base import BaseTool


class DeferredTools(BaseTool):
    """Stands for tools of what is called `server_name`, and is at `place`; `listed` says which."""

    server_name: str
    place: str

    @abstractmethod
    async def listed(self) -> list[BaseTool]:
        """The tools. Raises UsageError and ToolFailed if they cannot be had."""


class DeferredToolList(list[Any]):
    """A list of tools that is read when code looks into it. Agents and tasks take its `deferred` instead."""

    @property
    @abstractmethod
    def deferred(self) -> list[BaseTool]:
        """What stands for its tools; reading it lists nothing."""
