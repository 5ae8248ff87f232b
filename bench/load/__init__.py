"""Users of a homeserver who go on talking while something is done to it, and an account of every request they made.

``run.py`` is the command, ``Load`` in ``load.py`` the library. Needs Python 3.11, aiohttp, and ``dev/`` on the path.

GNU General Public License v3.0+ (see LICENSE)
"""
