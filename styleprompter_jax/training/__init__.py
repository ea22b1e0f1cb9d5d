"""Training: configs, their checks, and the loop."""
