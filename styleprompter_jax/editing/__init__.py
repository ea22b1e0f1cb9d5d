"""Latents, and their edits: directions and style mixing."""
