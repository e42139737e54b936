"""What scores and decisions are worth: thresholds, calibration, grades."""
