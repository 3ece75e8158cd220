"""Rows to JSON in Forgejo's shapes."""
