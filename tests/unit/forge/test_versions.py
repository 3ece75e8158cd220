from __future__ import annotations

import pytest

from factory.forge import decode
from factory.forge.versions import is_supported, missing


@pytest.mark.parametrize(
    ("said", "embedded", "supported", "lacks"),
    [
        ("15.0.3+gitea-1.22.0", True, True, []),
        ("15.0.3+gitea-1.22.0", False, True, []),
        ("16.0.0-dev-1-gabc+gitea-1.22.0", False, True, []),
        ("14.0.1+gitea-1.22.0", False, True, ["limited to repos"]),
        ("11.0.15+gitea-1.22.0", False, True, ["limited to repos"]),
        ("10.0.3+gitea-1.22.0", False, False, ["limited to repos"]),
        ("17.0.0+gitea-1.22.0", False, False, []),
        ("1.25.1", False, False, ["apply_to_admins", "limited to repos"]),
        ("26.1.0", False, False, ["apply_to_admins", "limited to repos"]),
    ],
)
def test_what_a_version_lacks(said: str, embedded: bool, supported: bool, lacks: list[str]) -> None:
    version = decode.version({"version": said}, embedded=embedded)
    assert is_supported(version) is supported
    told = missing(version)
    assert len(told) == len(lacks)
    assert all(word in line for word, line in zip(lacks, told, strict=True))
