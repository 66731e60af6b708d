"""References to Python objects, `package.module:attr` and `path/to/file.py:attr`, and importing the user's code.

A reference leads to the user's own code, so errors in it are reported with the user's file, line and traceback, without
our frames (`broken`).
"""

import importlib
import importlib.util
import os
import re
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from crewrun.errors import CrewrunError, DefinitionError, suggest
from crewrun.extras import install_command
from crewrun.loading import block
from crewrun.loading.environment import missing_variable, unset_in
from crewrun.loading.import_path import above_packages as above_packages  # noqa: PLC0414
from crewrun.loading.import_path import make_importable, project_places, root_of, search
from crewrun.loading.load import Load, stop_in, wants_arguments
from crewrun.loading.load import check_loaded as check_loaded  # noqa: PLC0414  (for what is above)
from crewrun.loading.partial_modules import stop_of, stoppable
from crewrun.loading.user_code import is_ours, is_users
from crewrun.loading.user_code import place_of as place_of  # noqa: PLC0414
from crewrun.loading.user_code import shown as shown  # noqa: PLC0414
from crewrun.redaction.redactor import learn, redact
from crewrun.redaction.written_secrets import written_secrets


@contextmanager
def loading(script: str = "") -> Iterator[Load]:
    """Load user code inside the block; it stops where it would call a model, see `crewrun.loading`.

    Secrets written into that code are redacted from then on.
    """
    before = set(sys.modules)
    try:
        with block.loading(script) as load:
            yield load
    finally:
        _learn_from(getattr(sys.modules.get(name), "__file__", None) for name in set(sys.modules) - before)


def is_reference(text: str) -> bool:
    """Whether `text` has the form `module:attr` or `file.py:attr`, rather than being a sentence or a Windows path."""
    module, colon, attr = text.strip().rpartition(":")
    return bool(colon) and _is_dotted(attr) and (module.endswith(".py") or _is_dotted(module))


def resolve(reference: str, folder: str | os.PathLike[str] = "") -> Any:
    """The object that `reference` names. Modules and files are looked for in `folder`, then as Python does.

    Raises DefinitionError, with the user's traceback when it is their code that fails.
    """
    name, _, attr = reference.strip().rpartition(":")
    with loading(name if name.endswith(".py") else ""):
        module = load_file(find_file(name, folder)) if name.endswith(".py") else _import(name, folder)
        return pick(module, attr, reference.strip())


def pick(module: ModuleType, attr: str, reference: str) -> Any:
    """`attr`, which may be dotted, from `module`. Raises DefinitionError that suggests the nearest existing name."""
    value: Any = module
    owner = f"module {module.__name__!r}"
    for part in attr.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            if (stop := stop_of(module.__file__)) is not None and value is module:
                raise DefinitionError(f"{reference}: {owner} has no {part!r} so far: {stop}") from None
            names = sorted(dir(value), key=lambda name: name[:1].isupper() != part[:1].isupper())
            near = suggest(part, [name for name in names if not name.startswith("_")])
            raise DefinitionError(f"{reference}: {owner} has no {part!r}{near}") from None
        except Exception as error:
            raise broken(f"{reference}: reading {part!r}", error) from None
        owner = repr(part)
    return value


def find_file(file: str, folder: str | os.PathLike[str] = "") -> str:
    """The absolute path of `file` in `folder` or the working directory. Raises DefinitionError if it does not exist."""
    tried = [os.path.abspath(os.path.join(folder, file)), os.path.abspath(file)]
    for path in tried:
        if os.path.isfile(path):
            return path
    near = suggest(os.path.basename(file), _python_files(os.path.dirname(tried[0])))
    raise DefinitionError(f"{file}: no such file{near}")


def load_file(path: str, home: str | None = None, project: str | None = None) -> ModuleType:
    """The module in the file at the absolute `path`, the same one each time.

    A file in a package is imported as part of it, so that its relative imports work: `home` is the folder that contains
    the top-level package, found by its `__init__.py` files if not given. Any other file is a script and takes
    precedence over an installed module of the same name. Its imports search the folders of `import_path` first;
    `project` is one of them. Raises DefinitionError.
    """
    modules = list(sys.modules.values())
    loaded = next((module for module in modules if getattr(module, "__dict__", {}).get("__file__") == path), None)
    if loaded is not None:
        return loaded
    home = home or root_of(path)
    make_importable(path, project)
    name = os.path.relpath(os.path.splitext(path)[0], home).replace(os.sep, ".")
    top = os.path.join(home, name.partition(".")[0])
    if "." in name and all(map(str.isidentifier, name.split("."))):
        search([home])
        if _is_package_at(top):
            return _imported(name, path)
        return _load_renamed(top, name, path)
    return _load_script(path)


def known_names(module: ModuleType) -> Mapping[str, Any]:
    """The public names of `module`."""
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def _python_files(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return []


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _import(name: str, folder: str | os.PathLike[str]) -> ModuleType:
    searched = os.path.abspath(folder)
    search(list(dict.fromkeys([*([searched] if folder else []), *project_places(searched), searched])))
    if (file := _file_of(name)) is not None:
        make_importable(file)
    try:
        with loading():
            return importlib.import_module(name)
    except ModuleNotFoundError as absent:
        if absent.name and (name == absent.name or name.startswith(absent.name + ".")):
            near = suggest(name, [file.removesuffix(".py") for file in _python_files(searched)])
            raise DefinitionError(f"no module {name!r}{near}; looked in {searched} and where Python looks") from None
        raise broken(f"importing {name!r}", absent) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a module that ends the process cannot be imported
        raise broken(f"importing {name!r}", error) from None


def _file_of(name: str) -> str | None:
    """The user's file that the module `name` would be loaded from."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    inner = name.split(".")[1:]
    files = [spec.origin] if spec is not None and spec.origin and not inner else []
    files += [os.path.join(place, *inner) + ".py" for place in places]
    return next((file for file in files if os.path.isfile(file) and is_users(file)), None)


def _imported(name: str, path: str) -> ModuleType:
    try:
        with loading():
            return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise broken(f"loading {shown(path)}", error) from None


def _load_script(path: str) -> ModuleType:
    stem = os.path.splitext(os.path.basename(path))[0].replace(".", "_")
    # A loaded module keeps its name. The number is the same in every process, which pickled classes rely on.
    name = stem if stem not in sys.modules else f"{stem}_{zlib.crc32(path.encode()):x}"
    finder = _OneFile(name, path)
    sys.meta_path.insert(0, finder)  # before installed modules
    try:
        return _imported(name, path)
    finally:
        sys.meta_path.remove(finder)


def _load_renamed(top: str, name: str, path: str) -> ModuleType:
    """The module at `path` in a package whose name is already taken: the package is loaded under a name of its own."""
    package, _, inner = name.partition(".")
    if not os.path.isfile(os.path.join(top, "__init__.py")):
        return _load_script(path)
    other = f"{package}_{zlib.crc32(top.encode()):x}"
    finder = _OneFile(other, os.path.join(top, "__init__.py"))
    sys.meta_path.insert(0, finder)
    try:
        return _imported(f"{other}.{inner}", path)
    finally:
        sys.meta_path.remove(finder)


class _OneFile(MetaPathFinder):
    """An import finder for one file under one name, wherever that file is."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._file = path
        self._inner = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the file; None for every other name."""
        if fullname != self._name:
            return None
        loader = loader_of(fullname, self._file)
        return stoppable(
            importlib.util.spec_from_file_location(
                fullname, self._file, loader=loader, submodule_search_locations=self._inner
            )
        )


def loader_of(name: str, path: str) -> SourceFileLoader:
    """The loader for the file at `path`: that of a finder with a `loader_for` method, else Python's own."""
    for finder in sys.meta_path:
        loader_for = getattr(finder, "loader_for", None)
        loader = loader_for(name, path) if loader_for is not None else None
        if isinstance(loader, SourceFileLoader):
            return loader
    return SourceFileLoader(name, path)


def _is_package_at(folder: str) -> bool:
    """Whether importing the package's name would find this very folder, not another one of the same name."""
    try:
        spec = importlib.util.find_spec(os.path.basename(folder))
    except (ImportError, ValueError):
        return False
    return spec is not None and folder in (spec.submodule_search_locations or ())


_IMPORTLIB = (os.path.dirname(importlib.__file__) + os.sep, "<frozen importlib")
_HAS_PLACE = re.compile(r"[^\s:]+:\d+: ")
_NO_NAME = re.compile(r"cannot import name '(\w+)'")


def broken(doing: str, failed: BaseException) -> DefinitionError:
    """The error for user code that raised `failed` while we were `doing` something.

    If our own classes rejected something, it names the user's file and line; anything else comes with the user's
    traceback, without the frames of importlib and crewrun.
    """
    if (stop := stop_in(failed)) is not None:
        stop.is_known = True
        return DefinitionError(f"{stop.short}: {stop.why}; name what makes the crew, not what runs it{stop.way_out}")
    if wants_arguments(failed):
        place = place_of(failed) or doing
        return DefinitionError(f"{place}: expects command-line arguments, and has none here; name what makes the crew")
    _learn_from(frame.f_code.co_filename for frame, _ in traceback.walk_tb(failed.__traceback__))
    report = traceback.TracebackException.from_exception(failed)
    theirs = _trim(report)
    place = f"{shown(theirs.filename)}:{theirs.lineno}: " if theirs else ""
    if isinstance(failed, CrewrunError):
        return DefinitionError(str(failed) if _HAS_PLACE.match(str(failed)) else f"{place}{failed}")
    if (name := missing_variable(failed)) is not None:
        return DefinitionError(f"{place}{name} is not set in the environment; export it, or put it into .env")
    hint = _unset(theirs.filename if theirs and not isinstance(failed, ImportError | SyntaxError) else None)
    if theirs and (message := _absent_here(failed) or _cut_off(failed) or _faults(failed)):
        return DefinitionError(f"{place}{redact(message)}{hint}")
    lines = report.format() if report.stack else report.format_exception_only()
    return DefinitionError(f"{doing} failed:\n{redact(''.join(lines)).rstrip()}{hint}")


def _unset(file: str | None) -> str:
    """A hint that names the unset environment variables which the code in `file` reads, or an empty text."""
    names = unset_in(file) if file is not None and is_users(file) else []
    return f"\n(not set in the environment, and asked for in {shown(file or '')}: {', '.join(names)})" if names else ""


def _learn_from(files: Iterable[str | None]) -> None:
    """Register the secrets written into the user's own files among `files` for redaction."""
    for file in {file for file in files if file and file.endswith(".py") and is_users(file)}:
        with suppress(OSError, ValueError):
            learn(written_secrets(Path(file).read_text(encoding="utf-8"), is_python=True))


def _trim(report: traceback.TracebackException) -> traceback.FrameSummary | None:
    """Remove our frames from the traceback in place; returns the user's last frame, if any."""
    for part in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if part is not None:
            _trim(part)
    frames = [frame for frame in report.stack if not frame.filename.startswith(_IMPORTLIB)]
    end = next((i for i in range(len(frames), 0, -1) if is_users(frames[i - 1].filename)), 0)
    if end < len(frames) and is_ours(frames[end].filename):  # raised below a call into our code
        del frames[end:]
    report.stack[:] = [frame for frame in frames if not is_ours(frame.filename)]
    return frames[end - 1] if end else None


def _absent_here(failed: BaseException) -> str | None:
    """The message for an import from crewrun of something that it does not have, or of an optional package; None for
    any other error.
    """
    module = failed.name if isinstance(failed, ImportError) else None
    if module == "mcp" and isinstance(failed, ModuleNotFoundError):
        return f"the package mcp is not installed: {install_command('mcp')}"
    if module is None or module.partition(".")[0] != "crewrun":
        return None
    name = _NO_NAME.match(str(failed))
    if name is None:
        message = str(failed)  # import hooks that reject a module by name say what to do instead
        absent = f"there is no module {module!r} in this version of crewrun; remove its import"
        return absent if message.startswith("No module named ") else message
    names: Sequence[str] = getattr(sys.modules.get(module), "__all__", ())
    if module == "crewrun.tools":
        return (
            f"crewrun has no tool {name[1]!r}{suggest(name[1], names)}; "
            f"install crewai-tools for CrewAI's own, or take it out; crewrun has {', '.join(names)}"
        )
    near = suggest(name[1], names)
    return f"{module} has no {name[1]!r}{near} in this version{'' if near else '; take it out'}"


def _cut_off(failed: BaseException) -> str | None:
    """The message for a name that its module lacks because its loading was stopped; None for other errors."""
    stop = stop_of(failed.path) if isinstance(failed, ImportError) and failed.path else None
    return None if stop is None else f"{str(failed).partition(' (')[0]}: {stop}"


def _faults(failed: BaseException) -> str | None:
    """A pydantic ValidationError as one line; None for anything else. Recognised by its attributes, so that pydantic
    need not be imported here.
    """
    title, errors = getattr(failed, "title", None), getattr(failed, "errors", None)
    if not isinstance(title, str) or not callable(errors):
        return None
    faults = [
        f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
        for e in errors(include_url=False, include_input=False)
    ]
    return f"{title}: {'; '.join(fault.removeprefix(': ') for fault in faults)}"
