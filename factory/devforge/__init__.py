"""The embedded forge: Forgejo's REST v1 as far as a factory and a person need it, git over HTTP, SQLite and bare repos.

Entry: ``python -m factory.devforge --home DIR --port N``. Which facts live where:

- git refs are the truth about branches; SQLite is the truth about everything else;
- every change of a ref goes through :mod:`factory.devforge.moves`, which writes its intent first, so a kill at any
  moment is completed (or dropped) at the next start.
"""
