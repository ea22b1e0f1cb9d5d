"""Networks that correct a generator's maps by an encoder's features."""
