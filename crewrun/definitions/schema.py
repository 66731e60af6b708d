"""The JSON Schema of crew.yaml, generated from `spec`, for completion and checks in editors.

It cannot check what must fit together, such as names of agents and tasks, nor what references lead to; `load` does.
"""

from collections.abc import Mapping
from typing import Any

from crewrun.batch_flags import batch_flags
from crewrun.definitions import descriptions
from crewrun.definitions.base_spec import Spec
from crewrun.definitions.keys import EXTENSION
from crewrun.definitions.mcp_spec import McpServerSpec
from crewrun.definitions.spec import (
    AgentSpec,
    BatchSpec,
    CrewSpec,
    ExpectationSpec,
    IdentitySpec,
    KnowledgeConfigSpec,
    LLMSpec,
    NamedTaskSpec,
    TaskSpec,
)
from crewrun.llm.parameters import STRUCTURED
from crewrun.llm.schema import without_titles

_DESCRIPTIONS: Mapping[type[Spec], Mapping[str, str]] = {
    LLMSpec: descriptions.LLM,
    AgentSpec: descriptions.AGENT,
    TaskSpec: descriptions.TASK,
    NamedTaskSpec: descriptions.TASK,
    BatchSpec: {name: field.description for name, field in batch_flags().items()},
    CrewSpec: descriptions.CREW,
    IdentitySpec: descriptions.IDENTITY,
    ExpectationSpec: descriptions.EXPECTATION,
    KnowledgeConfigSpec: descriptions.KNOWLEDGE_CONFIG,
    McpServerSpec: descriptions.MCP_SERVER,
}
_REFERENCE = {"type": "string", "pattern": r"\$|^os\.environ/"}
_TASKS_NEED_AN_AGENT = {"items": {"required": ["agent"]}, "additionalProperties": {"required": ["agent"]}}


def crew_schema() -> dict[str, Any]:
    """The schema, draft 2020-12, as plain JSON values."""
    schema = without_titles(CrewSpec.model_json_schema())
    parts = {**schema.pop("$defs"), CrewSpec.__name__: schema}
    for spec, words in _DESCRIPTIONS.items():
        _describe(parts[spec.__name__], spec, words)
    properties = parts[BatchSpec.__name__]["properties"]
    properties |= {name.replace("_", "-"): properties[name] for name in list(properties)}
    del parts[CrewSpec.__name__]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:crewrun:crew.yaml",
        "title": "crew.yaml of crewrun",
        **schema,
        "patternProperties": {f"^{EXTENSION}": {"description": descriptions.EXTENSION}},
        "if": {"properties": {"process": {"const": "hierarchical"}}, "required": ["process"]},
        "else": {"properties": {"tasks": _TASKS_NEED_AN_AGENT}},
        "$defs": parts,
    }


def _describe(part: dict[str, Any], spec: type[Spec], words: Mapping[str, str]) -> None:
    for name, value in part["properties"].items():
        value.pop("default", None)
        value["description"] = words[name]
        if spec is LLMSpec and name not in STRUCTURED:
            _allow_reference(value)
    part["properties"] |= {name: {"description": descriptions.IGNORED} for name in sorted(spec.ignored)}


def _allow_reference(value: dict[str, Any]) -> None:
    """Allow a text that refers to a variable where the value is of another type."""
    forms = value.get("anyOf", [])
    if forms and not any(form.get("type") == "string" for form in forms):
        forms.append(_REFERENCE)
