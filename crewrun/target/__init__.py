"""What a batch runs: `Target`, and `as_target`, which turns an object in the user's code into one.

`base` has what every target can be asked, with defaults; each kind is a file that overrides some of them:

- `crew`: one of our crews, which all rows share; `description` is what `crewrun check` says about it
- `flow`: one of our flows; every row has its own flow object
- `foreign`: another library's crew or flow, of which crewrun sees only the inputs and the answer
- `per_row`: the user's own code, called for each row by a `recipe`: `arguments` binds the row's fields to its
  parameters with a `conversion` of each, and `methods` finds the method of a class to call
- `script`: one of the user's files, which a row runs as a whole

`value_of` makes a row's output from the result of a kickoff, and `failure` its error record from an exception.
"""

from crewrun.target.base import Target
from crewrun.target.crew import CrewTarget
from crewrun.target.flow import FlowTarget
from crewrun.target.foreign import ForeignTarget
from crewrun.target.per_row import PerRowTarget
from crewrun.target.resolve import as_target
from crewrun.target.values import value_of

__all__ = ["CrewTarget", "FlowTarget", "ForeignTarget", "PerRowTarget", "Target", "as_target", "value_of"]
