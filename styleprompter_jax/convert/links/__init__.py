"""Downloads weight files from links."""
