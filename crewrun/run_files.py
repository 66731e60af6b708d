"""The names of a run's files, for the rooms that write them (`runs`, `batch`) and those that avoid them (`tools`)."""

# Appended to the name of the results: the run's folder, and the folder for the files of its tasks.
FOLDER_SUFFIX = ".crewrun"
FILES_SUFFIX = ".files"
RESULTS_SUFFIX = ".results.jsonl"
# In place of the name of results that go to a stream.
UNNAMED = "crewrun"
# In the folder of a run whose results are a table: the lines that it is made of, and what was made of them.
LINES_NAME = "results.jsonl"
TABLE_NAME = "table.json"
# In every run's folder, whatever that is called.
JOURNAL_NAME = "journal.sqlite"
