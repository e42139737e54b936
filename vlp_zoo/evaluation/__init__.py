"""Downstream protocols on frozen or tuned encoders, and honest statistics."""
