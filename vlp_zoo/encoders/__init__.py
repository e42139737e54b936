"""Image and text encoders, their files, and the door for foreign checkpoints."""
