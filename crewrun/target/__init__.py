"""What a batch runs: `Target`, `as_target`, which makes one of what a name in the user's code stands for, `value_of`.

Our crews are targets themselves, our flows are in `crewrun.flow.target`. `foreign` is another library's crew, `per_row`
the user's own code that is called for each row by a `recipe`: `arguments` binds the row's fields to its parameters,
with a `conversion` of each, and `methods` finds what to call of a class. `script` is a file that a row runs as a whole.
"""

from crewrun.target.base import Inspection, Target
from crewrun.target.foreign import ForeignTarget
from crewrun.target.per_row import PerRowTarget
from crewrun.target.resolve import as_target
from crewrun.target.values import value_of

__all__ = ["ForeignTarget", "Inspection", "PerRowTarget", "Target", "as_target", "value_of"]
