"""How good inversions, codes and edits are."""
