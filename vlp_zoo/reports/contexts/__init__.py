"""Distilled contexts of a report: by rule, or from a chat endpoint."""
