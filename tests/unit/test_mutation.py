"""Whether the tests notice faults in the rooms that money and results depend on. `tests/mutation.py` says how."""

import re
import subprocess
import sys

import pytest
from support.mutants import Mutant, mutants_of
from support.paths import ROOT

ROOMS = ("crewrun/limits", "crewrun/journal", "crewrun/batch", "crewrun/llm")
SAMPLE, SEED = 40, 18

_SAID = re.compile(r"(?:survives|untested): (.+?):\d+(: .+?)(?: \(line \d+\))?")

# Mutants of the sample that no test notices, and why none needs to.
ALLOWED: dict[str, str] = {
    "crewrun/limits/outage_probes.py: OutageProbes.reset: without `self._at = 0.0`": "each outage begins with `plan`",
}


@pytest.mark.soak
def test_mutants_of_a_sample_are_noticed() -> None:
    """All but those of the list. A new survivor needs a test, or a line there that says why it needs none."""
    command = [sys.executable, "tests/mutation.py", *ROOMS, "--sample", str(SAMPLE), "--seed", str(SEED)]
    tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = {match.expand(r"\1\2") for match in map(_SAID.fullmatch, tried.stdout.splitlines()) if match}
    assert f" of {SAMPLE - tried.stdout.count('untested: ')} mutants were noticed" in tried.stdout, tried.stderr
    assert names - ALLOWED.keys() == set()


def test_the_list_names_mutants_that_there_are() -> None:
    """One that has gone with its code leaves the list."""
    files = {name.partition(":")[0] for name in ALLOWED}
    assert ALLOWED.keys() - {mutant.name for file in files for mutant in mutants_of(file)} == set()


def test_a_mutant_keeps_its_name_when_lines_before_it_change() -> None:
    """So the sample and the list hold across changes elsewhere in a file."""
    before = Mutant("crewrun/x.py", 3, 12, "f", "without `return` (line 13)")
    after = Mutant("crewrun/x.py", 5, 40, "f", "without `return` (line 41)")
    assert before.name == after.name == "crewrun/x.py: f: without `return`"
