"""A run's state on disk: what makes the same command safe to repeat.

`folder` names the files and `lock` keeps other processes out; `manifest` is what was asked for. `journal` is the
database and `writer` the thread that commits to it; `recording` is one row's part of it, `outcomes` how a finished row
is kept, `entries` how that is read again, `earlier` what may answer again, `done` which rows are done. `results` is the
results file, a projection of all this, and `log` tells what happened when. `opening` brings them in order for a batch,
and `state` is its session of them. Through `view`, `status`, `verify`, `show` (with `prompts`), `export`, `gc` and
`merge` (of the `parts` that are named) look at runs from outside, and `loose` at results without a run; `known` is
for who plans the next session.
"""
