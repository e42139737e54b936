"""Questions about images, answered from frozen features."""
