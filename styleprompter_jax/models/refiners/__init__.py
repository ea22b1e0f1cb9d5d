"""Networks that correct a generator's maps with an encoder's features."""
