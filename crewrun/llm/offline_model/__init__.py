"""What the two fake models, `offline` and `crewrun mock`, have in common.

`values` makes up JSON that fits a schema, with the help of `scalars` and `patterns`, and of `demands` for schemas in
several parts; `words` reads tools and schemas that are described in a prompt.
"""
