"""The commands of `styleprompter`: what each takes, and what it says."""
