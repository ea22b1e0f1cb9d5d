"""Metrics of inversions, codes and edits."""
