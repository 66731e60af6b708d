"""CrewAI's import paths: how `from crewai.tasks.task_output import TaskOutput` finds crewrun's classes.

`paths` is the table: CrewAI's modules and names with our place for each, the modules whose names do nothing, and those
that are refused. Three kinds of imports use it:

    from crewai.x import Y          in the user's files: `import_hook` has `import_rewriting` put in our module
    from crewrun.x import Y         `aliases` makes a module with the names of the table's entry
    from crewrun.memory import Y    `stubs` makes a module whose names do nothing and warn when they are used

`names` and `base_llm` exist only for code that was written for CrewAI. `moved_modules` has the old places of crewrun's
own modules.
"""
