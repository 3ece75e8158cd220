from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.notify.chat import Chat


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()
