"""The functions behind the commands of `styleprompter`: one module per command."""
