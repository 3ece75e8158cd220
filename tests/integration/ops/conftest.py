from tests.integration.remote_ops import bot, mirror, origin, remote

__all__ = ["bot", "mirror", "origin", "remote"]
