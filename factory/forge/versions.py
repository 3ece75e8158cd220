"""What a version of a forge cannot do of what the factory makes use of."""

from __future__ import annotations

from factory.forge.values import ForgeVersion

OLDEST, NEWEST = 11, 16
"""Forgejo's major versions that are supported (DESIGN section 6)."""
TOKENS_LIMITED_TO_REPOS = 15
"""First Forgejo whose tokens can be limited to repos. Such a token holds no scope but issue and repository,
and no admin's rights."""


def is_supported(version: ForgeVersion) -> bool:
    """The embedded forge always; Forgejo in range; Gitea never."""
    return version.product == "embedded" or (version.product == "forgejo" and OLDEST <= version.major <= NEWEST)


def missing(version: ForgeVersion) -> tuple[str, ...]:
    """Each thing it lacks, with what follows from it; nothing where it can do all of it."""
    lacks = []
    if version.product == "gitea":
        lacks.append(
            "it does not know apply_to_admins of branch rules (there it is block_admin_merge_override, which is not "
            "set): a repo's admin may merge past the ops repo's rules"
        )
    if version.product == "gitea" or version.major < TOKENS_LIMITED_TO_REPOS:
        lacks.append(
            f"tokens cannot be limited to repos (Forgejo {TOKENS_LIMITED_TO_REPOS} can): each bot's token reaches "
            "every repo that its account reaches, so give the bots no other"
        )
    return tuple(lacks)
