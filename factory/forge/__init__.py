"""Any Forgejo, as values and over HTTP."""

import sys

# httpx has a command line of its own, which imports rich and pygments where another program of this environment brought
# them: a twentieth of a second of every process. Told that there is no such module, it goes on without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
