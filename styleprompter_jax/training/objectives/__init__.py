"""The objectives of training: the state, its start and one step."""
