"""Networks from images to codes and features."""
