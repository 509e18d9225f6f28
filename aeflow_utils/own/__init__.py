"""A reader's own images: train, score, report."""
