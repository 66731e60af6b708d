"""`journal.sqlite` and `log.jsonl`: the answers and outcomes of a run, committed before anything is published.

`schema` has the tables; `writer` commits what `changes` describes; `reader`, `replies` and `codec` read and encode
entries. `recorder` is a row's record of calls, `replay_index` finds the calls of earlier sessions, `done_index` the
rows that are done. `accounts` and `spending` add up what was spent, `event_log` writes the log.
"""
