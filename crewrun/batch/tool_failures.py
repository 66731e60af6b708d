"""Failed calls of tools, counted by tool over all rows of a session."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crewrun.failed_tools import OTHERS
from crewrun.row import FailedTool, Row

# Models also call tools that do not exist, by arbitrary names.
_MAX_TOOLS = 50


@dataclass(slots=True)
class FailingTool:
    """How often one tool failed and in how many rows, with the first failure as the example."""

    tool: str
    count: int
    rows: int
    row_id: str
    line: int
    example: FailedTool

    def to_json(self) -> dict[str, Any]:
        """As the summary has it."""
        example = {"id": self.row_id, "line": self.line, "task": self.example.task}
        example |= {"reason": self.example.reason, "error": self.example.error}
        return {"tool": self.tool, "count": self.count, "rows": self.rows, "example": example}


class ToolFailures:
    """Counts by tool, for at most `_MAX_TOOLS` of them; the rest is counted together."""

    def __init__(self) -> None:
        self._tools: dict[str, FailingTool] = {}

    def add(self, row: Row, failed: Iterable[FailedTool]) -> None:
        """Count the failed tools of one row."""
        met: set[str] = set()
        for failure in failed:
            tool = failure.tool if failure.tool in self._tools or len(self._tools) < _MAX_TOOLS else OTHERS
            group = self._tools.get(tool)
            if group is None:
                group = self._tools[tool] = FailingTool(tool, 0, 0, row.id, row.line, failure)
            group.count += failure.count
            group.rows += tool not in met
            met.add(tool)

    def groups(self) -> list[FailingTool]:
        """All failing tools, the most frequent first."""
        return sorted(self._tools.values(), key=lambda group: -group.count)
