"""Many sounds at once, and sounds for other instruments to load."""
