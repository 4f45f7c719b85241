"""Direct messages for a bookstore's community, inside the host's own PostgreSQL.

In charge of: the version, and nothing else. Knows about: nothing. Does not know: any other
module; importing the package costs nothing and starts nothing.
"""

from __future__ import annotations

__all__ = ["__version__"]

# The one place where the version is written; the build, the API and the changelog test read it.
__version__ = "0.1.0"
