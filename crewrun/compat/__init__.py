"""CrewAI's import paths: how `from crewai.tasks.task_output import TaskOutput` finds crewrun's classes.

`paths` is the table: CrewAI's modules and names with our place for each, the modules that do nothing, and those that
are refused. Three ways lead to it:

    from crewai.x import Y          in the user's files, read by `import_hook`: `import_rewriting` puts our module in
    from crewrun.x import Y         `aliases` makes a module with the names of the table's entry
    from crewrun.memory import Y    `stubs` makes a module whose names do nothing, and warn when they are used

`names` and `base_llm` are what only exists for code that was written for CrewAI. `moved_modules` has modules of
crewrun's own that are elsewhere now.
"""
