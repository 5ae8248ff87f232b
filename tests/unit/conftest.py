"""Hypothesis judges what comes out; how long a loaded machine takes is not its business."""

from hypothesis import settings

settings.register_profile("workers", deadline=None)
settings.load_profile("workers")
