"""Who drives the engine: each host moves time and bytes, nothing else."""
