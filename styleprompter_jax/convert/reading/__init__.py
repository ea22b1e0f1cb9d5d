"""Reads weight files as data, without running code from them."""
