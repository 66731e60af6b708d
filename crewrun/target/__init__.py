"""What a batch runs: `Target`, and `as_target`, which makes one of what a name in the user's code stands for.

`base` has what every target says of itself, with defaults; each kind is a file that overrides them:

- `crew`: one of our crews, which all rows share; `description` is what `crewrun check` says of it
- `flow`: one of our flows, every row with a flow object of its own
- `foreign`: another library's crew or flow, of which crewrun sees the inputs and the answer alone
- `per_row`: the user's own code, called for each row by a `recipe`: `arguments` binds the row's fields to its
  parameters with a `conversion` of each, and `methods` finds which method of a class to call
- `script`: a file of the user's that a row runs as a whole

`value_of` makes a row's output of what a kickoff returned, and `failure` its error record of what was raised.
"""

from crewrun.target.base import Target
from crewrun.target.crew import CrewTarget
from crewrun.target.flow import FlowTarget
from crewrun.target.foreign import ForeignTarget
from crewrun.target.per_row import PerRowTarget
from crewrun.target.resolve import as_target
from crewrun.target.values import value_of

__all__ = ["CrewTarget", "FlowTarget", "ForeignTarget", "PerRowTarget", "Target", "as_target", "value_of"]
