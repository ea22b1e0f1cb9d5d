"""Images: reading, writing, finding, colours, and the crop of a face."""
