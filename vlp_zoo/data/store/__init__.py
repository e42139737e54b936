"""Prepared stores: a raw data set shrunk and indexed once, then read fast."""
