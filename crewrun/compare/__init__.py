"""Two runs side by side: `comparison.compare` joins their rows by id. `cli.compare` prints what it returns.

`rows` says what became of each row, `fields` which fields of the outputs are equal, `metrics` what rows cost with the
intervals of `bootstrap`, `word_diff` where two texts differ, and `conditions` is the language of --fail-if.
"""
