"""Weight files behind links, fetched whole."""
