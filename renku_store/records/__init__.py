"""The records: frozen values that the rest of the house passes around. Nothing in here does any work."""
