"""What a new driver or metadata store has to pass; imported by nothing in the package."""
