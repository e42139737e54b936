"""Stored results as tables that one may publish: Markdown, CSV and one HTML page."""
