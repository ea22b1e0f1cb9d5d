"""The needs of any run: checkpoints, reports, devices, an orderly end."""
