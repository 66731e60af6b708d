"""How the objects of a user's program show themselves: in short on a prompt, as a card in a notebook.

`short_repr` makes a `repr`. A class that is `displayed.Displayed` says what is on its card, `html` and `markdown` write
it.
"""
