"""`JobFaults`: what goes wrong with files and batch jobs, by `--batch-fault NAME[=VALUE]` and `PUT /batch-faults`."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from crewrun.mock.request_body import read_object

Kind = Literal["times", "share", "number", "switch"]


class FaultName(NamedTuple):
    """A fault: what its value is, and what it does."""

    kind: Kind
    help: str


FAULTS: Mapping[str, FaultName] = {
    "invalid": FaultName("number", "validation fails at this line"),
    "enqueued": FaultName("number", "limit of tokens in jobs that have not ended"),
    "lost-lines": FaultName("share", "lines that get no result line"),
    "expired-lines": FaultName("share", "lines that expire, and the job with them"),
    "shuffle": FaultName("switch", "results in another order"),
    "never-ends": FaultName("switch", "jobs stay in progress"),
    "never-cancels": FaultName("switch", "jobs that are cancelled do not end"),
    "no-output": FaultName("switch", "jobs complete without files"),
    "refused-create": FaultName("times", "create is refused with a 503"),
    "lost-create": FaultName("times", "the job is made, and the reply lost"),
    "no-metadata": FaultName("switch", "jobs do not say what was said when they were made"),
    "cut-upload": FaultName("times", "the connection breaks, and nothing is stored"),
    "lost-upload": FaultName("times", "the file is stored, and the reply lost"),
    "gone": FaultName("times", "results are not there: 404"),
    "cut-content": FaultName("times", "results break off in the middle"),
    "slow-content": FaultName("number", "seconds between the pieces of results"),
}


class JobFaults:
    """The faults that are on. A fault that is on a number of `times` counts down; each time is taken once."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def number(self, name: str) -> float | None:
        """The value of a fault, None if it is off."""
        return self._values.get(name)

    def share(self, name: str) -> float:
        """The fraction of lines that a fault concerns."""
        return self._values.get(name, 0.0)

    def is_on(self, name: str) -> bool:
        """Whether a fault is on."""
        return bool(self._values.get(name))

    def take(self, name: str) -> bool:
        """Whether a fault is on, and so happens now: once less from now on."""
        times = self._values.get(name, 0.0)
        if times >= 1:
            self._values[name] = times - 1
        return times >= 1

    def change(self, values: Mapping[str, float | None]) -> None:
        """Set the faults that `values` names; None turns one off."""
        for name, value in values.items():
            if value is None:
                self._values.pop(name, None)
            else:
                self._values[name] = value

    def report(self) -> dict[str, float | bool | None]:
        """All faults by name; the value is null for one that is off."""
        return {name: _plain(self._values.get(name)) for name in FAULTS}


def read_faults(body: bytes) -> dict[str, float | None]:
    """The faults in the body of a `PUT /batch-faults`. Raises ValueError with what is wrong."""
    return {name: _value(name, value) for name, value in read_object(body).items()}


def parse_fault(text: str) -> tuple[str, float]:
    """Read the flag's `NAME` or `NAME=VALUE`. Raises ValueError with what is wrong."""
    name, separator, number = text.partition("=")
    try:
        value = _value(name, float(number) if separator else True)
    except ValueError as error:
        message = f"{number!r} is no number" if "could not convert" in str(error) else str(error)
        raise ValueError(f"{text!r}: {message}") from None
    return name, value or 0.0


def _value(name: str, value: Any) -> float | None:
    if name not in FAULTS:
        raise ValueError(f"no fault is called {name!r}: there are {', '.join(FAULTS)}")
    kind = FAULTS[name].kind
    if value is None or value is False:
        return None
    if value is True:
        if kind in ("share", "number"):
            raise ValueError(f"{name} needs a value, such as {name}={'0.1' if kind == 'share' else '3'}")
        return math.inf
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{name}: {value!r} is no number from 0")
    if kind == "share" and value > 1:
        raise ValueError(f"{name}: {value!r} is no fraction from 0 to 1")
    return float(value)


def _plain(value: float | None) -> float | bool | None:
    """Infinity, which JSON does not have, is how a fault without a number is on."""
    return True if value == math.inf else value
