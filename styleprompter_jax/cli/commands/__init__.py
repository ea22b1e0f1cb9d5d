"""The commands of `styleprompter`: their arguments and their output."""
