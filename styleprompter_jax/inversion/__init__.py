"""A loaded model: from images to latents and back."""
