"""Pictures and labels to train and measure on, and the cartoon faces."""
