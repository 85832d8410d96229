"""Objects in a storage that is asked over a network: S3 and what speaks like it."""
