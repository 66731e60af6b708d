"""`McpServers`: from the entries of `mcps` to the servers that they name or describe."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from crewrun.definitions.mcp_spec import McpServerSpec
from crewrun.definitions.problems import KeyPath, Problem
from crewrun.errors import DefinitionError, suggest
from crewrun.llm.variables import malformed
from crewrun.mcp.forms import as_server
from crewrun.mcp.server import McpServer


class McpServers:
    """The servers of one definition. `named` are those of its `mcp_servers`; `folder` is the definition's own, where
    processes start. `at` makes the place of a path in the file.
    """

    def __init__(
        self, named: dict[str, McpServerSpec] | None, folder: Path, at: Callable[[KeyPath, str], Problem]
    ) -> None:
        self._named = named or {}
        self._folder = folder
        self._at = at

    def server(self, entry: str | McpServerSpec, path: KeyPath) -> McpServer:
        """The server of an entry: a URL, a name or `name#tool`, a mapping. Raises DefinitionError for others."""
        if isinstance(entry, McpServerSpec):
            return self._described(entry, path)
        name, _, tool = entry.strip().partition("#")
        if name not in self._named:
            if "://" not in name and not name.startswith("crewai-amp:"):
                there_are = f"; there are {', '.join(self._named)}" if self._named else ""
                near = suggest(name, list(self._named)) or there_are
                raise DefinitionError(
                    f"{name!r} is no URL, and no server in mcp_servers{near}; a process is written "
                    f"{{command: {name}}}, and a server of CrewAI's catalogue (AMP), which crewrun does not ask, "
                    "by its URL"
                )
            return replace(as_server(entry), written_at=self._place(path))
        server = self._described(self._named[name], ("mcp_servers", name), name)
        return replace(server, tools=(tool,)) if tool else server

    def check(self) -> Iterator[tuple[KeyPath, str]]:
        """What is wrong with the servers in `mcp_servers`, also with those that no agent has."""
        for name, spec in self._named.items():
            try:
                self._described(spec, ("mcp_servers", name), name)
            except DefinitionError as wrong:
                yield ("mcp_servers", name), str(wrong)

    def _described(self, spec: McpServerSpec, path: KeyPath, name: str | None = None) -> McpServer:
        fields: dict[str, Any] = spec.explicit()
        if spec.tools is not None and spec.tool_filter is not None:
            raise DefinitionError("an MCP server has tools or a tool_filter, not both")
        for key in ("env", "headers"):
            if (text := malformed(fields.get(key))) is not None:
                raise DefinitionError(f"{key}: {text} is not a reference to an environment variable; write ${{NAME}}")
        server = as_server({**({"name": name} if name else {}), **fields})
        folder = os.path.abspath(self._folder) if server.transport == "stdio" else None
        return replace(server, folder=folder, written_at=self._place(path))

    def _place(self, path: KeyPath) -> str:
        return str(self._at(path, ""))
