"""The networks: architecture and nothing else."""
