"""Fixed networks whose features compare images."""
