"""How the files of a run are called, for what makes them (`runs`, `batch`) and for what leaves them alone (`tools`)."""

# Behind the name of the results: the run's folder, and the folder of what its tasks wrote.
FOLDER_SUFFIX = ".crewrun"
FILES_SUFFIX = ".files"
RESULTS_SUFFIX = ".results.jsonl"
# What stands in for the name of results that go to a stream.
UNNAMED = "crewrun"
# In a run's folder, whatever that is called.
JOURNAL_NAME = "journal.sqlite"
