"""What this host is like, read from the kernel, and what about it endangers a measurement."""
