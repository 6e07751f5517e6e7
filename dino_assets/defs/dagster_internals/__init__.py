"""Use of Dagster's private code, all in this package. A test fails with any other version than ``SEEN_WITH``.

``launching.py`` concerns runs before and while they start, ``events.py`` what runs record about assets and
checks, and ``servers.py`` the web server of ``dino-assets ui``.
"""

SEEN_WITH = "1.13"
