"""Which files a model's or a row's words may lead to: those inside a folder, but no hidden ones and nothing of a run.

`place` is the wall around the folder, `private_files` what stays closed inside, `own_files` what the run at work says
are its files.
"""
