"""Labels and grades: probes, neighbours, few shots, fine-tuning, and their numbers."""
