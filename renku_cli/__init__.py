"""The command line of Renku Store, over the public names of `renku_store` only."""
