"""Where crews come from: `load` a reference, or `find_beside` the inputs.

`crew_yaml` loads crewrun's own format, `spec` says which keys it has, `yaml_source` reads YAML with the place of
everything in it, `problems` words what is wrong. A format is one file and one line in `_LOADERS`.
"""

import os.path
from collections.abc import Callable
from pathlib import Path

from crewrun.definitions.crew_yaml import load as load_crew_yaml
from crewrun.definitions.definition import Definition
from crewrun.errors import DefinitionError, UsageError

__all__ = ["Definition", "find_beside", "load"]

_LOADERS: dict[str, Callable[[str], Definition]] = {".yaml": load_crew_yaml, ".yml": load_crew_yaml}
_FOUND_BY_ITSELF = ("crew.yaml", "crew.yml")


def load(ref: str | Path) -> Definition:
    """The crew that `ref` names, checked from top to bottom.

    Raises DefinitionError, whose message has one line per problem, `crew.yaml:14: tasks.draft.agent: …`.
    """
    file = str(ref)
    if os.path.isdir(file):
        raise DefinitionError(f"{file}: is a folder; this version of crewrun reads crew.yaml only{_inside(file)}")
    loader = _LOADERS.get(os.path.splitext(file)[1].lower())
    if loader is None:
        raise DefinitionError(f"{file}: this version of crewrun reads crew.yaml only (a .yaml or .yml file)")
    return loader(file)


def find_beside(inputs: Path | None) -> Path:
    """The crew file beside `inputs`, else the one in the working directory. None means inputs without a folder, stdin.

    Raises UsageError when there is none.
    """
    folders = [Path()] if inputs is None or inputs.parent == Path() else [inputs.parent, Path()]
    for folder in folders:
        for name in _FOUND_BY_ITSELF:
            if os.path.isfile(folder / name):
                return folder / name
    looked = " or ".join("the working directory" if folder == Path() else repr(str(folder)) for folder in folders)
    raise UsageError(f"no crew.yaml in {looked}; write one there, or name a crew file with --crew FILE")


def _inside(folder: str) -> str:
    found = next((path for name in _FOUND_BY_ITSELF if os.path.isfile(path := os.path.join(folder, name))), None)
    return f" (did you mean {found!r}?)" if found else ""
