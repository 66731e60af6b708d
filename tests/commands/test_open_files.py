"""A low limit of open files: what fits is said, and what can be raised is raised."""

import pytest
from support.command import shell, topics
from support.workspace import Place

TOO_FEW = "crewrun: the system allows 20 open files, and a command needs 32; raise the limit (ulimit -Hn, as root)\n"


@pytest.fixture
def folder(place: Place) -> Place:
    """A folder with a crew and two rows."""
    place.crew()
    place.rows(*topics(2))
    return place


@pytest.mark.parametrize(
    ("limit", "flags", "message"),
    [
        ("100", "-j 1000", "-j 1000 needs 1,064 open files and the system allows 100; use -j 36, or raise that"),
        ("100", "-j auto", "-j auto may need 1,064 open files and the system allows 100; use -j 36, or raise that"),
        ("40", "-j 1", "-j 1 needs 65 open files and the system allows 40; raise that, to 65 for one row at once"),
    ],
)
def test_a_batch_says_how_many_rows_fit(limit: str, flags: str, message: str, folder: Place) -> None:
    """Before a row is run."""
    done = shell(f"ulimit -n {limit}; crewrun batch in.jsonl {flags}", folder.folder, folder.env)
    assert (done.returncode, done.stderr) == (2, f"crewrun: {message} (ulimit -Hn, as root)\n")


def test_what_is_said_to_fit_does(folder: Place) -> None:
    """With rows in flight."""
    done = shell("ulimit -n 100; crewrun batch in.jsonl -j 36", folder.folder, folder.env)
    assert done.returncode == 0, done.stderr


def test_the_soft_limit_is_raised(folder: Place) -> None:
    """As far as the hard one allows; nobody has to type that."""
    done = shell("ulimit -Sn 16; crewrun batch in.jsonl -j 50", folder.folder, folder.env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["batch in.jsonl -m offline", "check", "run topic=x -m offline", "plan in.jsonl"])
def test_too_few_for_any_command(command: str, folder: Place) -> None:
    """Which had a traceback."""
    done = shell(f"ulimit -n 20; crewrun {command}", folder.folder, folder.env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", TOO_FEW)
