"""What happens while the user's code is loaded: nothing is called, nobody is asked, and it stops where it would be.

`load` has the block that code is loaded in and the stop, `modules` the import hook that keeps what a stopped module has
defined, `audit` the process's audit hook, `network` what it takes for a call of a model, `questions` what becomes of
`input()`, `placeholder` the text that it gives, `patience` the message about a load that takes long, and `user_code`
which files are the user's own. How a module is found is `crewrun.references`.
"""
