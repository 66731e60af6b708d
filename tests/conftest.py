"""What every test starts from: no keys, models or proxies of whoever runs the tests."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.forks import Forks, shared
from support.mock_process import MockProcess
from support.report_pages import browser, large, small, tab  # noqa: F401  (fixtures)
from support.workspace import Place

from crewrun.redaction import redactor
from crewrun.redaction.redactor import Redactor

# A busy machine makes an example slow, not the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# The slowest test takes 20 s on a quiet machine, the slowest soak a quarter of an hour; a busy one takes several times
# as long.
_LONGEST_S, _LONGEST_SOAK_S = 240, 3600
_SETTINGS = ("MODEL", "OPENAI_MODEL_NAME", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY", "NO_COLOR")


def pytest_configure(config: pytest.Config) -> None:
    """Give commands the signals of a terminal: a shell ignores SIGINT, `nohup` SIGHUP, in what they start."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):  # where tests run, with -n0 too
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test a time limit, so that a hang names its test."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            limit_s = _LONGEST_SOAK_S if item.get_closest_marker("soak") else _LONGEST_S
            item.add_marker(pytest.mark.timeout(limit_s))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # Where limits of accounts would be kept.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(autouse=True)
def _other_secrets() -> None:
    """What one test calls its models with is no secret of the next one's, in the one process of both."""
    Redactor.__init__(redactor._of_the_process)


@pytest.fixture(scope="session")
def forks() -> Forks:
    """A process whose forks are commands."""
    return shared()


@pytest.fixture(scope="session")
def served(forks: Forks) -> Iterator[tuple[MockProcess, Forks]]:
    """A mock that answers at once, and `forks`: for all tests that begin with `place`."""
    with MockProcess() as mock:
        yield mock, forks


@pytest.fixture
def place(tmp_path: Path, served: tuple[MockProcess, Forks]) -> Place:
    """A folder with a crew of one task on gpt-4.1-mini."""
    mock, forks = served
    mock.clear()
    place = Place(tmp_path, mock, forks)
    place.crew()
    return place


@pytest.fixture
def anyio_backend() -> str:
    """Where a test says `anyio`, it means asyncio: aiohttp runs on nothing else."""
    return "asyncio"
