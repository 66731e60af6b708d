"""The house stands as drawn: imports go down only, and what is heavy is imported where it says."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "crewrun"

# The layers as CONTRIBUTING.md draws them, lowest first: `room room   what is in them`.
_DRAWN = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The rooms")[1].split("```")[1]
LAYERS = [re.split(r"  |$", line)[0].split() for line in _DRAWN.splitlines()[1:]]
# These reach down to here; nothing above needs them but the command line.
BESIDE = {"testing": "executors", "mock": "crew"}
HEAVY = {
    "litellm": {"llm/transports/litellm/library.py"},
    "rich": {"cli/terminal_table.py", "cli/console.py", "cli/markdown.py", "cli/screen.py", "cli/spans.py"},
    "aiohttp": {
        "llm/batch_jobs/http.py",
        "llm/transports/http/proxied.py",
        "mock/server.py",
        "tools/public_address.py",
        "tools/scrape_website.py",
        "tools/serper.py",
    },
    "httptools": {"llm/transports/http/connection.py"},
    "jsonschema": {"llm/schema.py"},
    "uvloop": set[str](),
    "ray": {"executors/cluster.py"},
    "pypdf": {"knowledge/pdf.py"},
    "opentelemetry": {"monitoring/library.py"},
    "prometheus_client": {"monitoring/prometheus.py"},
    "pyarrow": {"tables/reading/arrow.py", "tables/reading/arrow_values.py", "tables/writing/parquet_writer.py"},
    "python_calamine": {"tables/reading/excel.py"},
    "xlsxwriter": {"tables/writing/xlsx_writer.py"},
    "mcp": {"mcp/sdk.py"},
    "zstandard": {"tables/reading/decompressor.py", "tables/writing/compressor.py"},
}
# Imported by litellm and aiohttp's own modules only when a function of ours runs.
LAZY = {
    "litellm",
    "mcp",
    "opentelemetry",
    "prometheus_client",
    "pyarrow",
    "pypdf",
    "python_calamine",
    "ray",
    "xlsxwriter",
    "zstandard",
}


_PRINTING = {"print", "pprint", "typer.echo", "typer.secho", "sys.stderr.write", "sys.stdout.write"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(name: str) -> str:
    """`crewrun.llm.gateway` → `llm`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def room_of(path: Path) -> str:
    return relative(path).removesuffix(".py").partition("/")[0]


def height(room_name: str) -> int:
    below = BESIDE.get(room_name, room_name)
    return next(i for i, rooms in enumerate(LAYERS) if below in rooms)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [p for p in modules() if relative(p) != "__init__.py"], ids=relative)
def test_a_module_imports_nothing_above_its_layer(path: Path) -> None:
    """A lower layer that knew a higher one could not be understood or tested without it."""
    own = room("crewrun." + relative(path).removesuffix(".py").replace("/", "."))
    above = [
        name
        for name in imports(parse(path))
        if name.startswith("crewrun.") and room(name) not in ("_version",) and height(room(name)) > height(own)
    ]
    assert above == []


@pytest.mark.parametrize("library", HEAVY, ids=str)
def test_a_heavy_library_is_imported_in_its_one_place(library: str) -> None:
    """Who wants to know what a library is used for looks into one file, and start-up pays for none by accident."""
    users = {
        relative(path)
        for path in modules()
        if any(name == library or name.startswith(library + ".") for name in imports(parse(path)))
    }
    assert users == HEAVY[library]


@pytest.mark.parametrize("library", sorted(LAZY))
def test_the_heaviest_is_imported_inside_functions_only(library: str) -> None:
    """litellm takes seconds and 170 MB: importing our module must not import it."""
    at_module_level = [
        relative(path)
        for path in modules()
        for node in parse(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(name == library or name.startswith(library + ".") for name in imports(node))
    ]
    assert at_module_level == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        pytest.param("import crewrun", {"pydantic", "anyio", "yaml", "typer"}, id="the package"),
        pytest.param("import crewrun.cli.app", {"pydantic", "aiohttp", "litellm", "rich.progress"}, id="the commands"),
        pytest.param("from crewrun import Agent, Crew, Task, LLM", {"aiohttp", "litellm", "rich"}, id="the classes"),
    ],
)
def test_importing_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    """Measured in a fresh interpreter, since this one has everything loaded already."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert absent & set(loaded) == set()


def test_everything_for_people_is_printed_by_one_module() -> None:
    """`crewrun.terminal` escapes what would steer a terminal and blacks secrets out: no command has to think of it.

    What is data goes to standard output through a sink.
    """
    printing = {
        relative(path)
        for path in modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _PRINTING
    }
    assert printing == {"terminal.py"}


def test_every_module_says_what_is_in_it() -> None:
    """A docstring on every module."""
    assert [relative(path) for path in modules() if not ast.get_docstring(parse(path))] == []


def test_the_public_names_are_sorted_and_all_resolve() -> None:
    """`__all__` is what `from crewrun import …` offers."""
    import crewrun

    assert sorted(crewrun.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) == crewrun.__all__
    assert {name: getattr(crewrun, name).__name__ for name in crewrun.__all__ if name != "__version__"} == {
        name: name for name in crewrun.__all__ if name != "__version__"
    }


def test_nobody_outside_its_package_asks_which_kind_a_target_is() -> None:
    """What the kinds differ in is a method or an attribute of `Target`, with a default."""
    asking = {
        f"{relative(path)}:{node.lineno}"
        for path in modules()
        if room_of(path) not in ("target", "flow", "aio")  # flow methods and threads have targets of other kinds
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("isinstance", "issubclass", "getattr", "hasattr")
        and any(ast.unparse(argument).endswith(("target", "Target")) for argument in node.args)
    }
    assert asking == set()


def test_each_room_is_drawn_once() -> None:
    """A room that CONTRIBUTING.md leaves out would be in no layer."""
    rooms = {room(_module(path)) for path in modules()} - {"__init__"}
    drawn = [name for layer in LAYERS for name in layer]
    assert sorted(drawn) == sorted(rooms - set(BESIDE))


def test_contributing_names_only_files_that_exist() -> None:
    """Its routes are the way in for newcomers."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|crewrun)/[\w./]+|[a-z_]+(?:/[a-z_]+)+\.py)`", text))
    routes = text.split("## The routes")[1].split("\n## ")[0]
    named |= {f"{path}.py" for path in re.findall(r"^([a-z_]+(?:/[a-z_]+)*)  ", routes, re.MULTILINE)}
    named |= {f"{path}.py" for path in re.findall(r"`([a-z_]+(?:/[a-z_]+)+)(?:\.\w+)?`", routes)}
    places = {path: (ROOT / path, PACKAGE / path, PACKAGE / path.removesuffix(".py")) for path in named}
    assert sorted(path for path, there in places.items() if not any(place.exists() for place in there)) == []


def test_no_modules_import_each_other() -> None:
    """A circle, whether of imports at the top, inside functions or for types only, can only be read as a whole."""
    graph = {_module(path): _imported(path) for path in modules()}
    while free := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in free:
            del graph[name]
    assert graph == {}


def _module(path: Path) -> str:
    return ("crewrun." + relative(path).removesuffix(".py").replace("/", ".")).removesuffix(".__init__")


@cache
def _own_modules() -> frozenset[str]:
    return frozenset(map(_module, modules()))


def _imported(path: Path) -> set[str]:
    """The modules of ours that a module imports, `crewrun.llm.endpoints` in `from crewrun.llm import endpoints`."""
    own = _own_modules()
    named = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            within = {f"{node.module}.{alias.name}" for alias in node.names} & own
            named |= within if len(within) == len(node.names) else within | {node.module or ""}
    return (named & own) - {_module(path)}
