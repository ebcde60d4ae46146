"""Batch sound design: many sounds at once, each a pure function of its plan; chosen, shown and taken away."""
