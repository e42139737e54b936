"""Tests of what happens around a training run."""
