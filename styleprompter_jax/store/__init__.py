"""Where models are kept: folders, the Hugging Face Hub, and what a name stands for."""
