"""Where crews come from: `load` a reference, or `find_beside` the inputs file.

    reference ─▶ formats ──▶ Source ─▶ normalise ─▶ keys ─▶ checks ─▶ names ─▶ spec ─▶ build ─▶ Definition
                    │                                                                              ▲
                    └─ Python code ─▶ crewrun.target ──────────────────────────────────────────────┘

- `formats` has one file per format: crew.yaml, crew.jsonc, CrewAI projects, folders, Python files.
- `source` is a file's data with the line of everything in it. `yaml_source` (over `yaml_nodes`) and `jsonc_source`
  parse the text that `file_text` reads.
- `pipeline` takes the steps: `normalise` turns CrewAI's spelling into ours, `keys` drops unknown keys, `checks` finds
  what does not fit together, `names` resolves references (`local_tools` in a project's own files), `validation` checks
  the data against `spec` (the keys) and `value_types`, and `build` makes the crew.
- `problems` words the error messages, `definition` is the result, `schema` is crew.yaml's JSON Schema.
"""

import os.path
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from crewrun.compat.import_hook import engine as meaning
from crewrun.compat.import_hook import refuse_foreign_engine
from crewrun.definitions.definition import Definition
from crewrun.definitions.file_text import files_read
from crewrun.definitions.formats import crew_json, crew_yaml
from crewrun.definitions.formats import folder as folder_format
from crewrun.errors import DefinitionError, UsageError
from crewrun.loading.block import outside_loops
from crewrun.references import is_reference, loading

__all__ = ["CREW_FILES", "Definition", "find_beside", "is_crew", "load"]

_LOADERS: dict[str, Callable[[str], Definition]] = {
    ".yaml": crew_yaml.load,
    ".yml": crew_yaml.load,
    ".jsonc": crew_json.load,
    ".json": crew_json.load,
}
CREW_FILES: Final = ("crew.yaml", "crew.yml", "crew.jsonc", "crew.json")


def load(ref: str | Path, strict: bool = False, engine: str = "crewrun") -> Definition:
    """The crew that `ref` names, fully checked: a file, a folder, `module:attr` or `file.py:attr`.

    Reads its agents' knowledge too. Raises DefinitionError with one line per problem,
    `crew.yaml:14: tasks.draft.agent: …`. Warns with CrewrunWarning about keys of a CrewAI project that crewrun does not
    have; with `strict` they are errors. `crewai` in the user's files means crewrun, or the installed library if
    `engine` is "crewai".
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
    problem = "is not a crew file" if os.path.exists(file) else "no such file or folder"
    raise DefinitionError(
        f"{file}: {problem}; a crew is a crew.yaml, a crew.jsonc, the folder of a CrewAI project, module:attr or "
        "file.py:attr"
    )


def find_beside(inputs: Path | None) -> Path:
    """The crew file, CrewAI project or script next to `inputs`, else that in the working directory.

    None stands for stdin, which has no folder. Scripts in folders below come last: nobody put them next to the inputs.
    Raises UsageError if nothing is found.
    """
    folders = [Path()] if inputs is None or inputs.parent == Path() else [inputs.parent, Path()]
    for with_inner in (False, True):
        for folder in folders:
            if (crew := _crew_file(str(folder))) is not None:
                return Path(crew)
            if folder_format.is_found_in(str(folder), with_inner=with_inner):
                return folder
    looked = " or ".join("the working directory" if folder == Path() else repr(str(folder)) for folder in folders)
    raise UsageError(f"no crew.yaml in {looked}; crewrun init DIR makes one, --crew names another crew")


def is_crew(name: str) -> bool:
    """Whether a file is a crew by its name, or a folder has one in it; no rows are."""
    if os.path.isdir(name):
        return _crew_file(name) is not None or folder_format.is_found_in(name)
    return os.path.isfile(name) and os.path.splitext(name)[1].lower() in (".py", ".yaml", ".yml", ".jsonc")


def _crew_file(folder: str) -> str | None:
    files = (os.path.normpath(os.path.join(folder, name)) for name in CREW_FILES)
    return next((file for file in files if os.path.isfile(file)), None)
