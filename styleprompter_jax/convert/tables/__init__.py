"""Tables of the parameters in published files, one module for each network."""
