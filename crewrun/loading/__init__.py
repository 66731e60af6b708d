"""Loading the user's code: no model is called, nobody is asked, and the code stops where it would do either.

    references ─▶ block.loading() ─┬─▶ partial_modules   imports: a module that stops keeps what it has defined
     (finds the file)              ├─▶ audit             sockets and servers; model_calls: which are calls of a model
                                   ├─▶ questions         input(): a placeholder now, the row's field when a row runs
                                   ├─▶ command_line      argparse: the row's fields as arguments
                                   └─▶ slow_load         after ten seconds, the line that it waits in
                                        │
                          all raise or note a `Stop` of the current `load.Load`

Read from the source: `answer_uses` is what the code does with an answer, which gives the field its name; `fields_asked`
lists the fields that rows answer; `blocking_calls` finds async functions that start a crew with a sync call;
`environment` finds variables that are not set.

About files: `user_code` says which are the user's own and which of their lines is running, `import_path` where the
imports of one start. `crewrun.references` finds modules and files by name, and words what goes wrong in them.
"""
