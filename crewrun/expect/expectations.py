"""`Expectations`: those of a crew, and what they say of a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewrun.expect.schema_fields import undeclared
from crewrun.redaction.redactor import LONGEST_QUOTATION, redact, redact_line

if TYPE_CHECKING:
    from crewrun.expect.expectation import Expectation
    from crewrun.expect.field_path import FieldPath

_LONGEST_CHARS = 300  # of a reason: it is in every result line

Checked = dict[str, bool | str]
"""By the name of an expectation: true if it is met, else why not."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """The expectations of a crew by their names. A crew without any has none to check."""

    by_name: Mapping[str, "Expectation"]

    @property
    def inputs(self) -> frozenset[str] | None:
        """The fields of the row that they read; None if functions may read any."""
        names: set[str] = set()
        for check in (check for expectation in self.by_name.values() for check in expectation.checks):
            if check.inputs is None:
                return None
            names |= check.inputs
        return frozenset(names)

    @property
    def row_fields(self) -> dict[str, str]:
        """The fields of the row that comparisons name, each with the expectation that does, as in `expect.total`."""
        return {
            str(path.steps[0]): f"expect.{name}"
            for name, path in reversed(self._paths())
            if path.root != "output" and path.steps
        }

    def faults(self, schema: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
        """The fields of the output that its `schema` does not have: the expectation, why, and whether no output can
        have them.
        """
        faults = []
        for name, path in self._paths():
            fault = undeclared(schema, path.steps) if path.root == "output" else None
            if fault is not None:
                faults.append((name, f"{path.text}: the output has {fault[0]}", fault[1]))
        return faults

    def _paths(self) -> "list[tuple[str, FieldPath]]":
        expectations = self.by_name.items()
        return [(name, path) for name, one in expectations for check in one.checks for path in check.paths]

    async def check(self, output: Any, inputs: Mapping[str, Any]) -> Checked:
        """What they say of a row's `output`, a JSON value. `inputs` are the row's fields. Never raises for a row."""
        roots = {"output": output, "row": inputs, "input": inputs}
        checked: Checked = {}
        for name, expectation in self.by_name.items():
            fault = await expectation.fault(roots)
            checked[name] = True if fault is None else _shortened(redact(fault[:LONGEST_QUOTATION]))
        return checked


NOTHING = Expectations({})


def _shortened(reason: str) -> str:
    line = redact_line(" ".join(reason.split()))
    return line if len(line) <= _LONGEST_CHARS else f"{line[: _LONGEST_CHARS - 1]}…"
