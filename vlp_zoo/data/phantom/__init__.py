"""Synthetic worlds of chest radiographs and fundus photographs, with written reports."""
