"""Procedural worlds: image, report, boxes, masks and labels from one seed."""
