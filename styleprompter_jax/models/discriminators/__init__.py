"""Networks that tell pictures of a data set from generated ones."""
