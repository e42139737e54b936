"""Readers of retinal data sets, one file per official layout."""
