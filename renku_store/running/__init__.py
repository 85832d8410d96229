"""The only asynchronous part of the house: runs a plan, bounded, isolated and resumable."""
