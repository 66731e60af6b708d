"""How to install what is optional, in the only place that says it.

crewrun is not on PyPI yet, so `pip install 'crewrun[pdf]'` works nowhere: from a checkout the checkout is installed
again with the extra, elsewhere the packages that the extra consists of.
"""

import re
import shlex
from pathlib import Path

_PACKAGE = Path(__file__).parent
_EXTRA = re.compile(r"""\s*;\s*extra\s*==\s*['"]([^'"]+)['"]\s*$""")  # as wheels write it


def install_command(extra: str, package: Path = _PACKAGE) -> str:
    """The command that installs an extra of pyproject.toml: `pip install -c constraints.txt -e '.[pdf]'`.

    It works from the working directory, whichever that is. `package` is the folder of crewrun's code.
    """
    checkout = package.parent
    if not (checkout / "pyproject.toml").is_file() or not (checkout / "constraints.txt").is_file():
        return f"pip install {shlex.join(_requirements(extra))}"
    if checkout == Path.cwd():
        return f"pip install -c constraints.txt -e '.[{extra}]'"
    return f"pip install -c {shlex.quote(str(checkout / 'constraints.txt'))} -e {shlex.quote(f'{checkout}[{extra}]')}"


def _requirements(extra: str) -> list[str]:
    """`["pypdf>=5.0"]`, from the metadata of the installed package."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        conditional = requires("crewrun") or []
    except PackageNotFoundError:
        conditional = []
    names = [_EXTRA.sub("", line) for line in conditional if (match := _EXTRA.search(line)) and match[1] == extra]
    return names or [f"crewrun[{extra}]"]
