"""A run's state on disk, which makes the same command safe to repeat.

`folder` names the files, `lock` keeps other processes out, `manifest` is what the run was asked to do. `opening` takes
a run and brings its files in order; `state` is one session of it, with `projection` for the results file, which
`results` edits and `rebuild` makes again when it was changed from outside. Calls and outcomes are in `crewrun.journal`,
commands that look at runs in `crewrun.inspect`.
"""
