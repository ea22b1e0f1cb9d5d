"""StylePrompter in JAX: StyleGAN inversion, editing and training."""
