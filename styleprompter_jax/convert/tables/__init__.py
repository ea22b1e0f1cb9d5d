"""Which array of a published file is which parameter, one file a network."""
