"""What the two rehearsal models, `offline` and `crewrun mock`, have in common.

`values` makes up JSON that fits a schema, out of `scalars` and `patterns`, with `demands` for schemas in several parts;
`words` reads tools and schemas that a prompt explains in words.
"""
