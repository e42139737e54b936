"""What a space shared by images and texts knows: zero-shot and retrieval."""
