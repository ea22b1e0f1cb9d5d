"""Networks that tell images of a dataset from generated images."""
