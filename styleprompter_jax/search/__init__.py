"""Methods that find directions."""
