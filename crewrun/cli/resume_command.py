"""The command that goes on with a run."""

import shlex

from crewrun.batch.invocation import BatchRequest
from crewrun.redaction.redactor import redact_value
from crewrun.runs.manifest import without


def resume_command(request: BatchRequest, *, replay: bool = True) -> str:
    """The command that continues a run, without --fresh; without `replay` it also makes the calls --replay left out."""
    invocation, settings = request.invocation, request.settings
    if invocation.resume_command is not None:
        return invocation.resume_command
    words = [redact_value(word) for word in without("fresh", invocation.command, is_set=settings.fresh)]
    return shlex.join(words if replay else without("replay", words, is_set=settings.replay))
