"""What a training needs before it is started: parameters, FLOPs, memory, hours, disk."""
