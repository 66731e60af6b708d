"""What one kickoff carries through the crew, in place of writing to the definitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crewrun.llm.gateway import Gateway
from crewrun.llm.tally import Tally


@dataclass(frozen=True, slots=True)
class Kickoff:
    """One run of one crew: its inputs (None: templates stay as they are), the way to the models, the account."""

    inputs: Mapping[str, Any] | None
    gateway: Gateway
    tally: Tally
