"""Metadata stores: transactions over the tables of the model."""
