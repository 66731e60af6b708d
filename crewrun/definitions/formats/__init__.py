"""The formats that crews are written in, one file each with a `load`.

`crew_yaml` is crewrun's own, `crew_json` and `crewai_project` are CrewAI's files: each reads a `Source` and hands it to
`pipeline`. `flow_project` and `python` are code, from which `target` makes what is run.

`folder` says which of them a folder is, with what its `pyproject` says, `folder_walk` finds in it and `folder_scripts`
run. `entry_point` finds the one thing in a Python file that can be run, by the `outline` of its source.
"""
