"""How directions are found."""
