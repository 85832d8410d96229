"""Migration from older layouts."""
