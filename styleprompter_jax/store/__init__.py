"""Storage of models: folders, the Hugging Face Hub, and names of models."""
