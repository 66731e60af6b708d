"""`check_offline`: the offline model must not replace results that were paid for."""

from collections.abc import Sequence

from crewrun.batch.definition_records import PreviousRun
from crewrun.errors import UsageError
from crewrun.inspect.earlier_rows import EarlierRows
from crewrun.messages import Endpoint
from crewrun.runs.folder import RunFolder


def check_offline(
    previous: PreviousRun | None, folder: RunFolder, endpoints: Sequence[Endpoint], definition: str
) -> None:
    """Raise UsageError when all models are offline and the rows that they would run again were run by real ones.

    `definition` is the fingerprint of the session to come. Rows of the same definition are not run again.
    """
    is_offline = bool(endpoints) and all(endpoint.transport_name == "offline" for endpoint in endpoints)
    if previous is None or not is_offline or previous.definition in ("", definition):
        return  # where the journal has no session, opening it says whether it is damaged
    models = EarlierRows.load(folder.journal, definition, by_id=False).real_models()
    if models:
        results = previous.manifest.output or str(folder.path)
        raise UsageError(
            f"{results}: its rows were run by {' and '.join(models)}, and the offline model would replace them; "
            "name another file with -o, or --fresh moves these results aside"
        )
