"""The base of all other subpackages: checks and files, independent of models."""
