"""What several tests share: crewrun as a process, providers on the loopback, and the files of a user."""
