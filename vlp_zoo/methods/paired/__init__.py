"""What the methods that align images with reports share: fields, towers, sentences."""
