"""What is trained for: the state, its start and one step."""
