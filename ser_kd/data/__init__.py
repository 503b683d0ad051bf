"""Clips as arrays, batches and targets: what networks are trained on."""
