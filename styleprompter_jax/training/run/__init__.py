"""What any run needs: checkpoints, reports, devices, an orderly end."""
