"""What each command of `styleprompter` does: one module a command, with `run`."""
