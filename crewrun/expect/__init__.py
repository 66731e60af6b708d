"""Expectations: what `expect:` in a crew file says of the output of each row, checked without calling a model.

`field_path` finds values in outputs and rows, `comparison` is for texts such as `output.total == row.total`,
`arguments` calls the user's functions with what their parameters name, `expectation` has the checks of one expectation
and `expectations` those of a crew. An expectation is a part of neither the crew nor its fingerprint.
"""
