"""The words of reports and what they stand for: readable tables."""
