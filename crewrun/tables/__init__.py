"""The users' files of rows: `reading` those of any format, `writing` results as tables. Both know `suffixes`."""
