"""The base of all other floors: checks and files, independent of models."""
