"""Training: what a config asks for, and the loop."""
