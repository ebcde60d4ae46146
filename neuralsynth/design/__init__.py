"""Batch sound design: many sounds, measured and chosen from."""
