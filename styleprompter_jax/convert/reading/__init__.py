"""Files of weights read as data, without running what they hold."""
