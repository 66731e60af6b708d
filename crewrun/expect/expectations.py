"""`Expectations`: those of a crew, and what they say of a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewrun.redaction.redactor import LONGEST_QUOTATION, redact, redact_line

if TYPE_CHECKING:
    from crewrun.expect.expectation import Expectation

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
