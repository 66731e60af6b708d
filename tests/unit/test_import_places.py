"""Where the imports of a user's files start, and packages whose names are taken."""

from pathlib import Path

import pytest
from support.user_files import in_an_empty_folder, write

from crewrun import DefinitionError
from crewrun.definitions import load

pytestmark = pytest.mark.usefixtures(in_an_empty_folder.__name__)

CREW = """
from crewrun import Agent, Crew, Task

def make(role):
    agent = Agent(role=role, goal="G", backstory="B", llm="offline")
    return Crew(agents=[agent], tasks=[Task(description="Do {topic}", expected_output="E", agent=agent)])
"""
PLACES = ["src/pkg/crews/x", "src", "", "../here"]


def role(ref: str) -> str:
    """The role of the agent in the crew that `ref` names."""
    crew = load(ref).crew
    return crew.agents[0].role


@pytest.mark.parametrize("ref", ["{}/src/pkg/crews/x/crew.py:crew", "pkg.crews.x.crew:crew"])
@pytest.mark.parametrize("first", range(len(PLACES)))
def test_imports_look_into_the_folders_around_a_crew(
    first: int, ref: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crew file's own, its package's root and `src`, the project, the working directory: the first that has it."""
    files = {f"project/{place}/where_it_is.py": f"place = {place!r}\n" for place in PLACES[first:]}
    packages = {f"project/src/pkg/{inner}__init__.py": "" for inner in ("", "crews/", "crews/x/")}
    body = CREW + "from where_it_is import place\ncrew = make(place or 'project')\n"
    write({**files, **packages, "project/pyproject.toml": "", "project/src/pkg/crews/x/crew.py": body, "here/x": ""})
    monkeypatch.chdir("project" if ref.startswith("pkg") else "here")
    if ref.startswith("pkg") and PLACES[first] == "../here":
        return  # the working directory is the project
    assert role(ref.format(tmp_path / "project")) == (PLACES[first] or "project")


def test_a_tool_of_a_jsonc_project_imports_from_the_project() -> None:
    """As `custom:` names it."""
    tool = """
        from crewrun.tools import tool
        from helpers_of_mine import text
        from more_of_mine import text as other

        @tool("Look")
        def look(x: str) -> str:
            \"\"\"Look.\"\"\"
            return text
        """
    write(
        {
            "pyproject.toml": "",
            "helpers_of_mine.py": "text = 'x'\n",
            "src/more_of_mine.py": "text = 'y'\n",
            "crews/a/crew.jsonc": '{"agents": ["w"], "tasks": [{"name": "t", "description": "d", '
            '"expected_output": "e", "agent": "w"}]}',
            "crews/a/agents/w.jsonc": '{"role": "R", "goal": "G", "backstory": "B", "tools": ["custom:look"]}',
            "crews/a/tools/look.py": tool,
        }
    )
    crew = load("crews/a").crew
    assert [tool.name for tool in crew.agents[0].tools] == ["Look"]


@pytest.mark.parametrize("ref", ["desk_app/crews/crew.py:crew", "desk_app.crews.crew:crew"])
def test_relative_imports_need_no_init_files(ref: str) -> None:
    """Folders are packages as far up as the imports lead."""
    write(
        {
            "desk_app/crews/crew.py": CREW + "from .name import a\nfrom ..other import b\ncrew = make(a + b)\n",
            "desk_app/crews/name.py": "a = 'A'\n",
            "desk_app/other.py": "b = 'B'\n",
        }
    )
    assert role(ref) == "AB"


@pytest.mark.parametrize("package", ["crew", "tools", "flow", "agents", "utils", "crewrun", "yaml", "loading", "json"])
def test_a_package_may_have_any_name(package: str) -> None:
    """One of ours or of a library: the user's imports find the user's, and ours goes on."""
    write(
        {
            f"{package}/__init__.py": "",
            f"{package}/demo.py": CREW + "from .made import role\ncrew = make(role)\n",
            f"{package}/made.py": "role = 'Mine'\n",
        }
    )
    assert role(f"{package}/demo.py:crew") == "Mine"
    write({"other.py": CREW + "import crewrun.crew, crewrun.tools, yaml, json\ncrew = make(yaml.safe_load('Still'))\n"})
    assert role("other.py:crew") == "Still"


def test_a_circular_import_is_told_with_the_users_lines() -> None:
    """In a package too, and without a line of ours."""
    write(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from pkg.b import y\nx = 1\n",
            "pkg/b.py": "from pkg.a import x\ny = 1\n",
        }
    )
    with pytest.raises(DefinitionError) as caught:
        load("pkg/a.py:x")
    told = str(caught.value)
    assert told.startswith("loading pkg/a.py failed:\n")
    assert 'pkg/b.py", line 1, in <module>' in told
    assert "circular import" in told
    assert "crewrun" not in told


def test_imports_look_into_the_folders_between_a_file_and_the_top_of_its_project() -> None:
    """Where its application is started; what is installed, and what the project has at its top, come first."""
    body = CREW + "import yaml\nfrom settings_here import place\nfrom shared_here import other\nyaml.safe_load('')\n"
    write(
        {
            "requirements.txt": "",
            "backend/settings_here.py": "place = 'backend'\n",
            "backend/shared_here.py": "other = 'backend'\n",
            "backend/yaml.py": "",
            "shared_here.py": "other = 'top'\n",
            "backend/ai/crew.py": body + "crew = make(f'{place} {other}')\n",
        }
    )
    assert role("backend/ai/crew.py:crew") == "backend top"
