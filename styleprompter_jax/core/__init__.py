"""What every floor stands on: checks and files, free of models."""
