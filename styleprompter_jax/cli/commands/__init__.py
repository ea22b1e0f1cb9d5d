"""The commands of `styleprompter`: its arguments and its output."""
