"""Published weights to model folders, and back."""
