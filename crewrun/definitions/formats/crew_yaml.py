"""crewrun's own format, `crew.yaml`: one file with the agents, the tasks, and how to run them.

    agents:
      writer:
        role: Writer
        goal: Write well
        backstory: You have written for years.
        tools:
        - SerperDevTool                    # built in
        - FileReadTool: {root: docs}       # built in, with arguments
        - shop.py:look_up                  # a function or class in a file in this folder; or package.module:attr
    tasks:
      draft:
        description: Write about {topic}
        expected_output: One page
        agent: writer
        output_schema: page.schema.json    # or the JSON Schema itself

`spec` has all keys.
"""

import os
from dataclasses import replace
from typing import Any

from crewrun.definitions.definition import Definition
from crewrun.definitions.keys import Rules
from crewrun.definitions.names import NameResolver
from crewrun.definitions.pipeline import assemble
from crewrun.definitions.source import DefinitionSource
from crewrun.definitions.spec import BatchSpec
from crewrun.definitions.yaml_source import read


def load(file: str) -> Definition:
    """The crew that `file` defines. Raises DefinitionError with one line per fault, in the order of the file."""
    source = normalise_batch_keys(read(file))
    names = NameResolver([os.path.dirname(file)])
    return assemble(source, names, Rules(crewai=False, strict=True), "crew.yaml", file)


def normalise_batch_keys(source: DefinitionSource) -> DefinitionSource:
    """`source` with the keys of `batch` as field names, `max_concurrent`, where it spells them like flags."""
    batch = source.data.get("batch")
    if not isinstance(batch, dict):
        return source
    renamed: dict[str, Any] = {}
    for key, value in batch.items():
        name = key.replace("-", "_")
        old, new = ("batch", key), ("batch", name)
        if name == key or name not in BatchSpec.model_fields:
            renamed[key] = value
        elif name in batch:
            taken = source.place_of_key(new)
            source.problems.append(source.at_key(old, f"is the same setting as {name!r} on {taken}; keep one of them"))
        else:
            renamed[name] = value
            source.move(old, new)
    return replace(source, data={**source.data, "batch": renamed})
