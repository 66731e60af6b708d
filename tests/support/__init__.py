"""What the tests share: providers, processes, workspaces. None of these names is one of crewrun's."""
