"""Where crews come from: `load` a reference, or `find_beside` the inputs.

    reference ─▶ formats ──▶ Source ─▶ normalise ─▶ keys ─▶ checks ─▶ names ─▶ spec ─▶ build ─▶ Definition
                    │                                                                              ▲
                    └─ Python code ─▶ crewrun.target ──────────────────────────────────────────────┘

- `formats` has one file for each format: crew.yaml, crew.jsonc, CrewAI's projects, folders, Python files.
- `source` is a file's data with the place of everything in it. `yaml_source` (over `yaml_nodes`) and `jsonc_source`
  parse the text that `file_text` has read.
- `pipeline` takes the steps: `normalise` puts CrewAI's spelling as ours, `keys` drops unknown ones, `checks` finds what
  does not fit together, `names` looks up what is named (`local_tools` in a project's own files), `spec` says which keys
  and `value_types` there are, `validation` holds the data against it, and `build` makes the crew.
- `problems` words what is wrong, `definition` is the result, `schema` is crew.yaml's JSON Schema.
"""

import os.path
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from crewrun.compat.import_hook import engine as meaning
from crewrun.compat.import_hook import refuse_foreign_engine
from crewrun.definitions.definition import Definition
from crewrun.definitions.file_text import files_read
from crewrun.definitions.formats import crew_json, crew_yaml
from crewrun.definitions.formats import folder as folder_format
from crewrun.errors import DefinitionError, UsageError
from crewrun.loading.block import outside_loops
from crewrun.references import is_reference, loading

__all__ = ["Definition", "find_beside", "load"]

_LOADERS: dict[str, Callable[[str], Definition]] = {
    ".yaml": crew_yaml.load,
    ".yml": crew_yaml.load,
    ".jsonc": crew_json.load,
    ".json": crew_json.load,
}
_FOUND_BY_ITSELF = ("crew.yaml", "crew.yml", "crew.jsonc", "crew.json")


def load(ref: str | Path, strict: bool = False, engine: str = "crewrun") -> Definition:
    """The crew that `ref` names, checked from top to bottom: a file, a folder, `module:attr` or `file.py:attr`.

    What its agents know is read too. Raises DefinitionError, whose message has one line per problem,
    `crew.yaml:14: tasks.draft.agent: …`. Warns with CrewrunWarning of what a CrewAI project says and crewrun does not
    know; with `strict` that is an error. `crewai` in the user's files means crewrun, or with the `engine` "crewai" the
    library that is installed.
    """
    with meaning(engine), files_read() as files:
        definition = outside_loops(lambda: _loaded(str(ref), strict))
    definition = replace(definition, files=definition.target.knowledge_files | files)
    definition.target.set_folder(definition.folder)
    return definition


def _loaded(file: str, strict: bool) -> Definition:
    with loading(file.rpartition(":")[0] or file):
        definition = _load(file, strict)
        definition.target.read_knowledge()
        return definition


def _load(file: str, strict: bool) -> Definition:
    if os.path.isdir(file):
        if (crew := _crew_file(file)) is not None:
            return _load(crew, strict)
        return folder_format.load(file, strict)
    extension = os.path.splitext(file)[1].lower()
    if extension in _LOADERS:
        refuse_foreign_engine(f"{file} is a {extension} file")
        return _LOADERS[extension](file)
    if extension == ".py" and ":" not in os.path.basename(file):
        from crewrun.definitions.formats.python import load_script

        return load_script(file)
    if is_reference(file):
        from crewrun.definitions.formats.python import load as load_python

        return load_python(file)
    problem = "is no crew file" if os.path.exists(file) else "no such file or folder"
    raise DefinitionError(
        f"{file}: {problem}; a crew is a crew.yaml, a crew.jsonc, the folder of a CrewAI project, module:attr or "
        "file.py:attr"
    )


def find_beside(inputs: Path | None) -> Path:
    """The crew file beside `inputs`, else the one in the working directory, else a CrewAI project or script in these.

    None means inputs without a folder, stdin. Raises UsageError when there is none.
    """
    folders = [Path()] if inputs is None or inputs.parent == Path() else [inputs.parent, Path()]
    for folder in folders:
        if (crew := _crew_file(str(folder))) is not None:
            return Path(crew)
    for folder in folders:
        if folder_format.is_found_in(str(folder)):
            return folder
    looked = " or ".join("the working directory" if folder == Path() else repr(str(folder)) for folder in folders)
    raise UsageError(f"no crew.yaml in {looked}; crewrun init DIR makes one, --crew names another crew")


def _crew_file(folder: str) -> str | None:
    files = (os.path.normpath(os.path.join(folder, name)) for name in _FOUND_BY_ITSELF)
    return next((file for file in files if os.path.isfile(file)), None)
