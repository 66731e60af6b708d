"""Modules of an earlier release: importing one gives its public names from their new places, with a warning.

They are in one table instead of files, so that nothing at the old places looks like code to read. An entry stays for
one release.
"""

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Old module: its public names, and the module and name of each today.
MOVED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "crewrun.executors.job": {
        "Job": ("crewrun.executors.run_spec", "RunSpec"),
        "Brief": ("crewrun.executors.run_spec", "WorkerSpec"),
        "WorkerOptions": ("crewrun.executors.run_spec", "WorkerOptions"),
    },
    "crewrun.executors.fleet": {
        "Fleet": ("crewrun.executors.remote.pool", "WorkerPool"),
        "Site": ("crewrun.executors.remote.pool", "Provisioner"),
        "Line": ("crewrun.executors.remote.connection", "Connection"),
        "LineBroken": ("crewrun.executors.remote.connection", "ConnectionLost"),
        "open_fleet": ("crewrun.executors.remote.pool", "open_pool"),
    },
}


class _MovedModules(MetaPathFinder, Loader):
    """Finds the modules of the table after all other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, origin="moved") if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        names = MOVED[module.__name__]
        for name, (place, attribute) in names.items():
            setattr(module, name, getattr(import_module(place), attribute))
        places = ", ".join(sorted({place for place, _ in names.values()}))
        warnings.warn(f"{module.__name__} is now {places}", DeprecationWarning, stacklevel=2)


def install() -> None:
    """Let `import` find the modules of the table. Further calls do nothing."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())
