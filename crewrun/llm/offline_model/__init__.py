"""A model without a model: `fake_model` answers from the request alone, for `-m offline` and for `crewrun mock`.

`words` reads tools and schemas that a prompt explains in words, `directives` the words by which a prompt steers the
mock. `values` makes up JSON that fits a schema, out of `scalars` and `patterns`, with `demands` for schemas in several
parts.
"""
