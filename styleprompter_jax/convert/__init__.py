"""Converts published weights to model folders, and back."""
