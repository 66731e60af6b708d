"""A fake model: `fake_model` answers from the request alone, for `-m offline` and for `crewrun mock`.

`words` reads tools and schemas that are described in a prompt, and `directives` the words by which a prompt steers the
mock. `values` makes up JSON that fits a schema, with the help of `scalars` and `patterns`, and of `demands` for schemas
in several parts.
"""
