"""Images and labels for training and evaluation, and the avatars dataset."""
