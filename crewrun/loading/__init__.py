"""What happens while the user's code is loaded: nothing is called, nobody is asked, and it stops where it would be.

`block` has the block that code is loaded in, `load` the stop, `exits` the ends of the process that are one too,
`modules` the import hook that keeps what a stopped module has defined, `audit` the process's audit hook, and `network`
what it takes for a call of a model. `questions` says what becomes of `input()`, by what `answers` reads in the source,
and `command_line` of argparse; `placeholder` is the text that a question gives, `fields_asked` lists what rows are
asked. `patience` has the message about a load that takes long, `variables` those that are not set, `places` the folders
that imports are looked for in, and `user_code` which files are the user's own. How a module is found is
`crewrun.references`.
"""
