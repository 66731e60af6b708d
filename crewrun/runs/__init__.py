"""A run's state on disk, which makes the same command safe to repeat.

`folder` names the files, `lock` keeps other processes out, `manifest` is what the run was asked to do. `opening` locks
a run and brings its files into a consistent state; `state` is one session of it. `projection` decides which lines
belong in the results file, `results` edits that file, and `rebuild` restores it when something else has changed it.
Calls and outcomes are in `crewrun.journal`; commands that only read runs are in `crewrun.inspect`.
"""
