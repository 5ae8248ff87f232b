"""Asks a homeserver's edge what its users and other servers ask, and judges which worker answered.

It knows nothing of this project's tables: what a worker type may serve is written down here a second time, by hand,
from Synapse's ``docs/workers.md`` and its servlets (1.163.2). Only so can it judge them.

Standard library only, Python 3.10 or later.

GNU General Public License v3.0+ (see LICENSE)
"""
