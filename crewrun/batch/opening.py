"""What a run is, said before it begins: its gateway, what its crew would do, and what its manifest holds."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import anyio.to_thread

from crewrun.batch.drift import warn_of_drift
from crewrun.batch.preflight import is_pipe, run_folder
from crewrun.batch.settings import BatchSettings
from crewrun.batch.source import source_path
from crewrun.confinement.own_files import OwnFiles
from crewrun.definitions.definition import Definition
from crewrun.errors import Category, UsageError
from crewrun.fingerprint import fingerprint
from crewrun.hooks.dispatch import all_hooks
from crewrun.inspect.view import command_of, is_in_place
from crewrun.limits.limiter import LocalLimiters
from crewrun.limits.retry import RetryPolicy
from crewrun.llm.cache import AnswerCache
from crewrun.llm.endpoint_secrets import is_described_by, without_secrets
from crewrun.llm.gateway import Gateway
from crewrun.llm.options import GatewayOptions
from crewrun.llm.request_identity import describe_endpoint
from crewrun.messages import Endpoint
from crewrun.redaction.key_shapes import without_key_shapes
from crewrun.redaction.redactor import learn, redact, redact_value
from crewrun.redaction.written_secrets import written_secrets
from crewrun.run_files import FILES_SUFFIX
from crewrun.runs.folder import RunFolder
from crewrun.runs.manifest import Manifest, digest_of, options_of, texts_of
from crewrun.runs.state import StateOptions


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the user asked for: `inputs` and `crew` as they were named, and the words of the command.

    `only` redoes the rows that failed so, and runs no others; `again` is the command that goes on, where it is not the
    same one. `earlier` is the run that is retried: its rows are not to run by another model than they failed by.
    """

    inputs: str
    crew: str
    command: list[str]
    only: Category | None = None
    again: str | None = None
    earlier: Manifest | None = None


class Identity(NamedTuple):
    """What decides the answers of a run: the texts of its crew without the secrets in them, the crew's fingerprint, and
    that with its models.

    `endpoints` are these in the words of `describe_endpoint`.
    """

    texts: dict[str, str]
    crew: str
    endpoints: list[str]
    definition: str


def make_gateway(settings: BatchSettings, limiters: LocalLimiters, cache: AnswerCache | None = None) -> Gateway:
    """The gateway of a run. Raises UsageError for prices that do not parse."""
    options = GatewayOptions(
        retry=RetryPolicy(retries=settings.retries),
        call_timeout_s=settings.call_timeout,
        model=settings.model,
        base_url=settings.base_url,
        replay_only=settings.replay,
        prices=settings.prices,
        row_budget_usd=settings.row_budget_usd,
    )
    return Gateway(options, limiters=limiters, cache=cache)


def own_files_of(
    invocation: Invocation, definition: Definition, settings: BatchSettings, output: str | None, stdout_fd: int
) -> OwnFiles:
    """The files that no tool of the crew may read or change on a model's word; of streams, those that they lead to."""
    folder = run_folder(output, settings)
    state = folder.files if folder is not None else []
    streams = [f"/dev/fd/{fd}" for fd in ([stdout_fd] if output is None else []) + [sys.stderr.fileno()]]
    return (
        OwnFiles()
        .keeping(output, settings.summary, settings.cache, *state, *streams)
        .with_inputs(source_path(invocation.inputs))
        .with_crew(definition.path, definition.files)
    )


def identify(
    definition: Definition, endpoints: list[Endpoint], constants: Mapping[str, Any] = MappingProxyType({})
) -> Identity:
    """Which run this is: rows that are done under it need not run again. `constants` are the inputs of all rows."""
    texts = texts_of(definition.path)
    for name, text in texts.items():
        learn(written_secrets(text, is_python=name.endswith(".py")))
    what = fingerprint(definition.target.identity({name: without_key_shapes(text) for name, text in texts.items()}))
    if hooks := all_hooks():
        what = fingerprint([what, hooks])
    described = sorted(describe_endpoint(endpoint) for endpoint in endpoints)
    shown = {name: redact(text) for name, text in texts.items()}
    decisive = [what, described, *([json.dumps(constants, sort_keys=True)] if constants else [])]
    return Identity(shown, what, described, fingerprint(decisive))


async def state_options(
    invocation: Invocation,
    definition: Definition,
    settings: BatchSettings,
    folder: RunFolder,
    output: Path | None,
    endpoints: list[Endpoint],
) -> StateOptions:
    """How the state of a run is to be opened. Raises UsageError when it could not be kept, or not be retried."""
    inputs = invocation.inputs
    command = [redact_value(word) for word in invocation.command]
    for name in (*command, inputs, invocation.crew, str(output or ""), os.getcwd()):
        if not _is_text(name):
            raise UsageError(f"{name!r}: is no UTF-8, so a run cannot keep the name; rename it")
    digest = None if is_pipe(inputs) else await anyio.to_thread.run_sync(digest_of, Path(inputs))
    identity = identify(definition, endpoints, settings.input)
    manifest = Manifest(
        inputs=inputs,
        crew=invocation.crew,
        output=str(output) if output else None,
        cwd=os.getcwd(),
        command=command,
        options={name: _redacted(value) for name, value in options_of(settings, BatchSettings()).items()},
        definition={
            "kind": definition.kind,
            "fingerprint": identity.crew,
            "endpoints": [without_secrets(endpoint) for endpoint in identity.endpoints],
            "texts": identity.texts,
        },
        input_digest=digest,
    )
    if invocation.earlier is not None:
        _check_same(invocation, invocation.earlier, manifest, identity.endpoints, folder)
    if not settings.fresh:
        warn_of_drift(folder, manifest.definition["endpoints"])
    return StateOptions(
        folder=folder,
        output=output,
        manifest=manifest,
        definition=identity.definition,
        fresh=settings.fresh,
        lock=settings.lock,
        aside=(Path(f"{output}{FILES_SUFFIX}"),) if output else (),
        only=invocation.only,
        log_prompts=settings.log_prompts,
        is_mixed=settings.ordered and bool(settings.canary),
        is_named=settings.id_field is not None,
        is_replay=settings.replay,
        is_ours=settings.part.has if settings.part else None,
    )


def _check_same(
    invocation: Invocation, earlier: Manifest, now: Manifest, endpoints: Sequence[str], folder: RunFolder
) -> None:
    """Raise UsageError when a retry would ask other models than the run did, or lose sight of its results."""
    old, new = earlier.definition.get("endpoints"), now.definition["endpoints"]
    if isinstance(old, list) and not _are_described_by([str(endpoint) for endpoint in old], endpoints):
        own = f", or give its own command: {command_of(folder, earlier)}" if is_in_place(folder, earlier) else ""
        raise UsageError(
            f"{folder.path}: the run asks {endpoints_in_words(old)}, and here and now that is "
            f"{endpoints_in_words(new)}; set OPENAI_BASE_URL, MODEL and the like as they were{own}"
        )
    if invocation.only is not None and earlier.definition.get("fingerprint") != now.definition["fingerprint"]:
        raise UsageError(
            f"--only {invocation.only}: {earlier.crew} has changed since, so that every row is to run again, and not "
            "these alone; leave --only out, or make the crew what it was"
        )


def _are_described_by(shown: Sequence[str], endpoints: Sequence[str]) -> bool:
    """Whether the endpoints of a manifest are these, apart from their secrets: a key may have been changed since."""
    return (
        len(shown) == len(endpoints)
        and all(any(is_described_by(one, endpoint) for endpoint in endpoints) for one in shown)
        and all(any(is_described_by(one, endpoint) for one in shown) for endpoint in endpoints)
    )


def endpoints_in_words(endpoints: Sequence[str]) -> str:
    """What `describe_endpoint` says of some, for people."""
    return " and ".join(map(_words_of, endpoints)) or "no model"


def _words_of(endpoint: str) -> str:
    try:
        transport_name, provider, model, base_url, params = json.loads(endpoint)
    except (ValueError, TypeError):
        return endpoint
    name = model if transport_name == "offline" else f"{provider}/{model}"
    return f"{name}{f' at {base_url}' if base_url else ''}{f' with {json.dumps(params)}' if params else ''}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _redacted(value: Any) -> Any:
    """An option without the password that it may have: a retry gets that from the environment."""
    if isinstance(value, dict):
        return {name: _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return redact_value(value) if isinstance(value, str) else value
