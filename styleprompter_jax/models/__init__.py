"""The networks: only their architecture."""
