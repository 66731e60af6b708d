"""Loading the user's code without calling a model or asking a person: the code stops where it would do either.

    references ─▶ block.loading() ─┬─▶ partial_modules   imports: a stopped module keeps what it has defined so far
     (finds the file)              ├─▶ audit             sockets and servers; model_calls: which connections are calls
                                   ├─▶ questions         input(): a placeholder now, the row's field when a row runs
                                   ├─▶ command_line      argparse: the row's fields as arguments
                                   └─▶ slow_load         after ten seconds, reports the line that is running
                                        │
                          all raise or record a `Stop` of the current `load.Load`

From the source alone: `answer_uses` says what the code does with an answer, which gives the field its name;
`question_fields` lists the fields that answer questions; `blocking_calls` finds async functions that start a crew with
a sync call; `environment` finds variables that are not set.

About files: `user_code` says which are the user's own and which of their lines is running, `import_path` where a
file's imports start. `crewrun.references` finds modules and files by name, and words what goes wrong in them.
"""
