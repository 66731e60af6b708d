"""Which files a path from a model or a row may lead to: those inside a folder, except hidden files and files of runs.

`place` confines paths to the folder, `private_files` says what stays closed inside it, and `own_files` holds the paths
of the current run's files.
"""
