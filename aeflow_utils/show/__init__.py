"""Frames and figures of runs, in one visual language. Nothing here trains, nothing here judges."""
