"""Networks from codes to images."""
