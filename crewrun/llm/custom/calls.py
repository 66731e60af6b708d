"""`routed`: a `call` of the user's own, by which their code asks a model, as a call of the run.

Which objects have such a `call` is in `model`, how a run calls them in `transports.custom`.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from crewrun.llm.custom.model import CallArguments, calling
from crewrun.llm.sync import run_sync
from crewrun.references import check_loaded
from crewrun.row_context import current_row_context


def routed(method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, a `call` or `acall`, as a call of the run where a run's code calls it.

    Outside a run, and within the run's own call of the model, it is the method itself.
    """
    if iscoroutinefunction(method):

        @wraps(method)
        async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
            if _is_here(self):
                return await method(self, *args, **kwargs)
            from crewrun.llm.direct import ask_custom  # see `LLM.acall`

            return await ask_custom(self, CallArguments(args, kwargs))

        return acall

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_here(self):
            return method(self, *args, **kwargs)
        from crewrun.llm.direct import ask_custom

        return run_sync("call", "acall", ask_custom, self, CallArguments(args, kwargs))

    return call


def _is_here(custom: Any) -> bool:
    """Whether the method itself is to run. Raises DefinitionError while the user's code is loaded."""
    if calling.get() is custom:
        return True
    check_loaded()
    return current_row_context() is None
