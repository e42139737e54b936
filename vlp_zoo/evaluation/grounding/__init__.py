"""Where a phrase points in an image, and how that is judged."""
