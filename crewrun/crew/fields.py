"""Fields of agents, tasks and crews: which of CrewAI's constructor arguments are accepted, and which have an effect.

A CrewAI crew runs unchanged: arguments for what crewrun does differently are accepted silently, arguments for features
that it lacks with a warning, and so are unknown names, which CrewAI drops silently.
"""

import os
import posixpath
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from crewrun.crew.model_keys import described, model_keys
from crewrun.errors import CrewrunWarning, DefinitionError, suggest
from crewrun.templates import Template, compile_template, doubles_a_name


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# No effect on a crew's answers: how CrewAI logs, traces, caches and names things.
SILENT: Mapping[str, frozenset[str]] = {
    "agent": _names(
        "id cache crew cache_handler tools_handler agent_executor i18n formatting_errors max_tokens security_config "
        "multimodal tools_results times_executed callbacks adapted_agent fingerprint language telemetry tracing "
        "knowledge_storage"
    ),
    "task": _names(
        "id agents security_config used_tools tools_errors delegations retry_count max_retries start_time end_time "
        "processed_by_agents prompt_context i18n"
    ),
    "crew": _names(
        "id cache share_crew full_output tracing security_config execution_logs chat_llm language "
        "language_file token_usage fingerprint prompt_file task_execution_output_json_files"
    ),
}
# CrewAI's features that crewrun does not have.
MISSING: Mapping[str, frozenset[str]] = {
    "agent": _names(
        "function_calling_llm memory reasoning max_reasoning_attempts planning planning_config "
        "allow_code_execution code_execution_mode apps a2a from_repository checkpoint tool_failure_policy"
    ),
    "task": _names("checkpoint tool_failure_policy"),
    "crew": _names(
        "function_calling_llm memory short_term_memory long_term_memory entity_memory external_memory memory_config "
        "planning planning_llm stream checkpoint tool_failure_policy"
    ),
}


_MEMORIES = _names("memory short_term_memory long_term_memory entity_memory external_memory memory_config")


def no_effect(name: str) -> str:
    """The message for a field in `MISSING`, without its name."""
    if name in _MEMORIES:
        return "has no effect: crewrun has no memory, so that no row knows of another one"
    return "is not supported by this version of crewrun and has no effect"


def accept(kind: str, model: type[BaseModel], fields: Any) -> Any:
    """The constructor arguments `fields` of `model` without those that have no effect; `kind` is agent, task or crew.

    A `config` mapping is merged in; direct arguments win over it, as in CrewAI. Warns with CrewrunWarning.
    """
    if not isinstance(fields, dict):
        return fields
    fields = dict(fields)
    config = fields.pop("config", None)
    if isinstance(config, Mapping):
        fields = {**config, **fields}
    if kind == "agent":
        llm, keys = model_keys(fields)
        if keys:
            warnings.warn(f"agent: {described(keys)}", CrewrunWarning, stacklevel=5)
            fields = {**{name: value for name, value in fields.items() if name not in keys}, "llm": llm}
    accepted = {}
    for name, value in fields.items():
        if name in model.model_fields:
            accepted[name] = value
        elif name not in SILENT[kind]:
            _warn(kind, model, name, value)
    return accepted


def _warn(kind: str, model: type[BaseModel], name: str, value: Any) -> None:
    if name in MISSING[kind]:
        if value:
            warnings.warn(f"{kind}: {name} {no_effect(name)}", CrewrunWarning, stacklevel=6)
        return
    near = suggest(name, list(model.model_fields))
    warnings.warn(f"{kind}: no field {name!r}{near}; it has no effect", CrewrunWarning, stacklevel=6)


def check_output_file(template: str, *, is_of_config: bool = False) -> str:
    """`template` without the newline at the end of folded YAML.

    An absolute path stays absolute where CrewAI leaves it so, in a YAML file (`is_of_config`) or with placeholders, and
    if its top directory exists. Otherwise the leading slash is removed, as CrewAI does. Raises DefinitionError for a
    path that leaves its folder for any inputs.
    """
    path = template.strip()
    if not path.strip("/") or path.endswith("/"):
        raise DefinitionError(f"output_file {template!r} names no file")
    if ".." in Path(path).parts or path.startswith("~"):
        raise DefinitionError(f"output_file {template!r} leaves its folder; write a path below it")
    whole = posixpath.normpath(path).lstrip("/")
    if not path.startswith("/"):
        return whole
    top, _, below = whole.partition("/")
    is_meant = is_of_config or bool(compile_template(path).names) or (below and os.path.isdir(f"/{top}"))
    return f"/{whole}" if is_meant else whole


# The private attribute of agents and tasks whose texts have doubled braces.
_DOUBLED = "_doubled_braces"


def mark_doubled_braces(part: BaseModel) -> None:
    """Let doubled braces in the texts of an agent or a task stand for single ones, as in crew.yaml."""
    setattr(part, _DOUBLED, True)


def has_doubled_braces(part: BaseModel) -> bool:
    """Whether doubled braces in the texts of an agent or a task stand for single ones."""
    # Asked for every text of every row, and pydantic's own way to a private attribute takes 2 µs, this one 0.07.
    private = part.__pydantic_private__
    return private is not None and private.get(_DOUBLED, False)


def template_of(part: BaseModel, text: str) -> Template:
    """The template of one of the texts of an agent or a task."""
    return compile_template(text, has_doubled_braces(part))


# An embedder that is called is in a run's identity by its endpoint.
_WITHOUT_EFFECT = frozenset({"embedder", "output_log_file"})
_ADDED_LATER = frozenset({"knowledge", "knowledge_sources", "knowledge_config", "skills", "mcps"})


def effective_fields(part: BaseModel) -> dict[str, Any]:
    """The fields of an agent, a task or a crew that decide what it does, for its fingerprint.

    Fields without effect are left out, and so are empty ones that older versions did not have: a run begun with such a
    version keeps its fingerprint and resumes without paying again. So does a part whose doubled braces always meant
    what they mean now.
    """
    fields = {
        name: value
        for name, value in part.__dict__.items()
        if name not in _WITHOUT_EFFECT and (value or name not in _ADDED_LATER)
    }
    if has_doubled_braces(part) and any(doubles_a_name(text) for text in fields.values() if isinstance(text, str)):
        fields[_DOUBLED] = True
    return fields
