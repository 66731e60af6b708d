"""Options for opening a run's state: its manifest, and the check that a retry asks the same models."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio

from crewrun.batch.definition_records import PreviousRun, other_records, previous_run
from crewrun.batch.invocation import BatchRequest, Invocation
from crewrun.batch.locations import Places, real_path
from crewrun.batch.model_changes import warn_of_changed_models
from crewrun.batch.offline_repeat import check_offline
from crewrun.batch.run_identity import Identity, endpoints_in_words, identify, past_of, redacted, without_addresses
from crewrun.batch.settings import BatchSettings
from crewrun.errors import CrewrunError, OutputFailed, UsageError
from crewrun.inspect.view import command_of, is_in_place
from crewrun.llm.endpoint_secrets import is_described_by, without_secrets
from crewrun.llm.gateway import Gateway
from crewrun.messages import Endpoint
from crewrun.redaction.redactor import redact_line, redact_value
from crewrun.run_files import FILES_SUFFIX
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import Manifest, options_of
from crewrun.runs.state import RunState, StateOptions


@asynccontextmanager
async def closed_on_failure(state: RunState | None) -> AsyncIterator[None]:
    """End the session of `state` if the block fails: its lock would last as long as the program that runs the batch."""
    try:
        yield
    except BaseException as failed:
        if state is not None and not state.is_closed:
            why, code = type(failed).__name__, 1
            if isinstance(failed, CrewrunError):
                why, code = str(failed), failed.exit_code
            with anyio.CancelScope(shield=True), suppress(OutputFailed):
                await state.close(why, code)
        raise


async def state_options(
    request: BatchRequest, folder: RunFolder, places: Places, endpoints: list[Endpoint], gateway: Gateway
) -> StateOptions:
    """The options for opening the state in `folder`. Calls of `gateway` are recorded as its identity says.

    Raises UsageError for names that it cannot store, and for a retry that would not be the same run.
    """
    invocation, settings = request.invocation, request.settings
    previous = None if settings.fresh else previous_run(folder)
    past = past_of(previous, folder) if settings.same_endpoint else None
    identity = identify(request.definition, endpoints, settings.input_options, past)
    gateway.count_as_called_at(identity.addresses)
    output, layout = real_path(places.output), None if places.is_stream else places.table
    manifest = await _manifest(request, output, identity, previous)
    manifest = replace(manifest, table=str(layout.form) if layout is not None else None)
    if invocation.retried is not None:
        _check_same(invocation, invocation.retried, manifest, identity.endpoints, folder)
    if not settings.fresh:
        check_offline(previous, folder, endpoints, identity.definition)
        warn_of_changed_models(folder, manifest.definition["endpoints"])
    return StateOptions(
        folder=folder,
        output=places.results,
        manifest=manifest,
        definition=identity.definition,
        fresh=settings.fresh,
        lock=settings.lock,
        companions=(Path(f"{output}{FILES_SUFFIX}"),) if output else (),
        only=invocation.only,
        log_prompts=settings.log_prompts,
        is_mixed=settings.ordered and bool(settings.canary),
        is_named=settings.id_field is not None,
        is_replay=settings.replay,
        is_ours=settings.part.has if settings.part else None,
        table=output if layout is not None else None,
    )


async def _manifest(
    request: BatchRequest, output: Path | None, identity: Identity, previous: PreviousRun | None
) -> Manifest:
    invocation, definition = request.invocation, request.definition
    # A word may be a whole shell command, with a secret in it.
    command = [redact_line(redact_value(word)) for word in invocation.command]
    for name in (*command, invocation.inputs, invocation.crew, str(output or ""), os.getcwd()):
        if not _is_text(name):
            raise UsageError(f"{name!r}: is not UTF-8, so a run cannot store the name; rename it")
    options = options_of(request.settings, BatchSettings())
    return Manifest(
        inputs=invocation.inputs,
        crew=invocation.crew,
        output=str(output) if output else None,
        cwd=os.getcwd(),
        command=command,
        options={name: redact_line(value) if name == "notify" else redacted(value) for name, value in options.items()},
        definition={
            "kind": definition.kind,
            "fingerprint": identity.crew,
            "endpoints": [without_secrets(endpoint) for endpoint in identity.endpoints],
            "texts": identity.texts,
            "definition": identity.definition,
            "anywhere": identity.anywhere,
            "parts": identity.parts,
            "expectations": list(definition.target.expectations.by_name),
            "earlier": [record.to_json() for record in other_records(previous, identity.definition)],
        },
        input_digest=await request.inputs.digest(),
    )


def _check_same(
    invocation: Invocation, previous: Manifest, now: Manifest, endpoints: Sequence[str], folder: RunFolder
) -> None:
    """Raise UsageError when a retry would ask other models than the run did, or with --only run a changed crew."""
    old, new = previous.definition.get("endpoints"), now.definition["endpoints"]
    if isinstance(old, list) and not _are_same(list(map(str, old)), endpoints, previous):
        own = f", or give its own command: {command_of(folder, previous)}" if is_in_place(folder, previous) else ""
        raise UsageError(
            f"{folder.path}: the run asks {endpoints_in_words(old)}, and here and now that is "
            f"{endpoints_in_words(new)}; set OPENAI_BASE_URL, MODEL and the like as they were{own}"
        )
    crews = (previous.definition.get("fingerprint"), now.definition["fingerprint"])
    names = (previous.definition.get("definition"), now.definition["definition"])
    if invocation.only is not None and crews[0] != crews[1] and names[0] != names[1]:
        raise UsageError(
            f"--only {invocation.only}: {previous.crew} has changed since, so that every row is to run again, and not "
            "these alone; leave --only out, or make the crew what it was"
        )


def _are_same(shown: Sequence[str], endpoints: Sequence[str], previous: Manifest) -> bool:
    """Whether the endpoints of the `previous` manifest are these, by --same-endpoint wherever they are."""
    if not previous.options.get("same_endpoint"):
        return _are_described_by(shown, endpoints)
    try:
        return _are_described_by(without_addresses(shown), without_addresses(endpoints))
    except (ValueError, TypeError, LookupError):  # a manifest may be damaged
        return False


def _are_described_by(shown: Sequence[str], endpoints: Sequence[str]) -> bool:
    """Whether the endpoints of a manifest are these, apart from secrets: a key may have been changed since."""
    return (
        len(shown) == len(endpoints)
        and all(any(is_described_by(one, endpoint) for endpoint in endpoints) for one in shown)
        and all(any(is_described_by(one, endpoint) for one in shown) for endpoint in endpoints)
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
