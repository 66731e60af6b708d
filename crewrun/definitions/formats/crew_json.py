"""CrewAI's `crew.jsonc` or `crew.json`, with a file `agents/<name>.jsonc` or `.json` for each of its agents.

    {"agents": ["writer"], "tasks": [{"name": "draft", …, "agent": "writer"}], "process": "sequential", "inputs": {…}}

`agents` may also be a mapping of names to agents, as in crew.yaml. `normalise` turns CrewAI's spellings into those of
crew.yaml; everything after that is the same for both.
"""

import os
from dataclasses import replace
from typing import Any

from crewrun.definitions.definition import Definition
from crewrun.definitions.formats.crew_yaml import normalise_batch_keys
from crewrun.definitions.jsonc_source import read
from crewrun.definitions.keys import Rules
from crewrun.definitions.names import NameResolver
from crewrun.definitions.normalise import normalise_json
from crewrun.definitions.pipeline import assemble
from crewrun.definitions.problems import KeyPath
from crewrun.definitions.source import DefinitionSource, Expected, joined
from crewrun.errors import suggest

_AGENT_FILE = Expected("an agent's file", "`role`, `goal` and `backstory`")
_EXTENSIONS = (".jsonc", ".json")


def load(file: str) -> Definition:
    """The crew that `file` defines. Raises DefinitionError as for crew.yaml; warns about features that are missing."""
    folder = os.path.dirname(file)
    source = normalise_json(_with_agents(read(file), os.path.join(folder, "agents")), folder)
    names = NameResolver([folder], [os.path.join(folder, "tools")])
    kind = "crew" + os.path.splitext(file)[1].lower()
    return assemble(normalise_batch_keys(source), names, Rules(crewai=True, strict=True), kind, file)


def _with_agents(source: DefinitionSource, folder: str) -> DefinitionSource:
    """`source` with the agents that it names, read from their files in `folder`."""
    named = source.data.get("agents")
    if not isinstance(named, list):
        return source
    manager = source.data.get("manager_agent")
    entries: list[tuple[KeyPath, Any]] = [(("agents", i), name) for i, name in enumerate(named)]
    if isinstance(manager, str) and manager.strip() and manager not in named:
        entries.append((("manager_agent",), manager))
    files: dict[str, DefinitionSource] = {}
    for path, name in entries:
        if (problem := _problem_with(name, files, folder)) is not None:
            source.problems.append(source.at_value(path, problem))
        elif (file := _file_of(name, folder)) is not None:
            files[name] = read(file, _AGENT_FILE)
            if name == manager and path[0] == "agents" and source.data.get("process") == "hierarchical":
                source.problems.append(source.at_value(path, f"{name!r} is the manager_agent, and only manages"))
    # A placeholder for each agent, so that a missing file is reported once and not again for each task that names it.
    named = [name for _, name in entries if isinstance(name, str) and name.strip()]
    data = {**source.data, "agents": {name: {"role": name, "goal": "-", "backstory": "-"} for name in named}}
    return joined(replace(source, data=data), {("agents", name): agent for name, agent in files.items()})


def _problem_with(name: Any, files: dict[str, DefinitionSource], folder: str) -> str | None:
    if not isinstance(name, str) or not name.strip():
        return f"needs the name of an agent, whose file is {os.path.join(folder, '<name>.jsonc')}"
    if os.path.basename(name) != name or "\0" in name:
        return f"{name!r} is not a file name without its extension"
    if name in files:
        return f"the agent {name!r} is in this list twice"
    if _file_of(name, folder) is None:
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        names = [os.path.splitext(file)[0] for file in there if file.endswith(_EXTENSIONS)]
        tried = " or ".join(os.path.join(folder, name + extension) for extension in _EXTENSIONS)
        return f"no agent {name!r}{suggest(name, names)}; there is no {tried}"
    return None


def _file_of(name: str, folder: str) -> str | None:
    files = (os.path.join(folder, name + extension) for extension in _EXTENSIONS)
    return next((file for file in files if os.path.isfile(file)), None)
