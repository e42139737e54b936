"""A drawn world of colour fundus photographs with written reports."""
