"""The formats of crews, one file each with a `load`.

`crew_yaml` is crewrun's own format; `crew_json` and `crewai_project` are CrewAI's. Each reads a `Source` and passes it
to `pipeline`. `flow_project` and `python` are for code, which `target` turns into something that rows can run.

`folder` decides which format a folder has, from its `pyproject`, the files that `folder_walk` lists and the scripts
that `folder_scripts` picks. `entry_point` finds the one thing in a Python file that can be run, by the `outline` of its
source.
"""
