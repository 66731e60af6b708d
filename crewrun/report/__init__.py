"""`crewrun report`: what a run did, as one page. `contents` gathers the data, `page` makes the document.

The page has a small head and packs, which are compressed JSON: all rows as columns, texts to search in, and the details
of single rows.
"""
