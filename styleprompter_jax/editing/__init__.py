"""Latents, and what changes them: directions and mixing."""
