"""Tools: functions that a model may call.

`base` has `BaseTool` and `@tool`, `schema` derives the schema of the arguments, `foreign` wraps other libraries' tools,
`toolbox` has an agent's tools during a run. Each built-in tool is one file, imported when its name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewrun.tools.base import BaseTool, tool
    from crewrun.tools.base_tool import EnvVar
    from crewrun.tools.directory_read import DirectoryReadTool
    from crewrun.tools.file_read import FileReadTool
    from crewrun.tools.file_writer import FileWriterTool
    from crewrun.tools.scrape_website import ScrapeWebsiteTool
    from crewrun.tools.serper import SerperDevTool
    from crewrun.tools.tool_failure import (
        ToolExecutionFailedError,
        ToolFailure,
        ToolFailurePolicy,
        ToolFailureReason,
        ToolFailureRecord,
    )

__all__ = [
    "BaseTool",
    "DirectoryReadTool",
    "EnvVar",
    "FileReadTool",
    "FileWriterTool",
    "ScrapeWebsiteTool",
    "SerperDevTool",
    "ToolExecutionFailedError",
    "ToolFailure",
    "ToolFailurePolicy",
    "ToolFailureReason",
    "ToolFailureRecord",
    "tool",
]

# The built-in tools by the names that YAML files use.
BUILT_IN = {
    "DirectoryReadTool": "crewrun.tools.directory_read",
    "FileReadTool": "crewrun.tools.file_read",
    "FileWriterTool": "crewrun.tools.file_writer",
    "ScrapeWebsiteTool": "crewrun.tools.scrape_website",
    "SerperDevTool": "crewrun.tools.serper",
}
_HOME = {
    **BUILT_IN,
    "BaseTool": "crewrun.tools.base",
    "MCPServerAdapter": "crewrun.mcp.adapter",  # a name only: its module is above this package
    "ToolFailed": "crewrun.errors",
    "ToolExecutionFailedError": "crewrun.tools.tool_failure",
    "ToolFailure": "crewrun.tools.tool_failure",
    "ToolFailurePolicy": "crewrun.tools.tool_failure",
    "ToolFailureReason": "crewrun.tools.tool_failure",
    "ToolFailureRecord": "crewrun.tools.tool_failure",
    "EnvVar": "crewrun.tools.base_tool",
    "tool": "crewrun.tools.base",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'crewrun.tools' has no attribute {name!r}; its tools are {', '.join(BUILT_IN)}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
