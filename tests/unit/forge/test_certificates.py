"""Whose certificates a client trusts."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from factory.forge import client
from factory.forge.client import ForgejoClient


def test_the_authorities_are_read_once_for_all_clients_and_only_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *given: Any, **named: Any) -> None:
        read.append(context)
        load(context, *given, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    client.authorities.cache_clear()
    ForgejoClient("http://127.0.0.1:3000").close()
    assert read == []
    for url in ("https://forge.test", "HTTPS://forge.test", "https://other.test"):
        ForgejoClient(url).close()
    assert len(read) == 1


def test_a_certificate_is_always_judged() -> None:
    for context in (client.authorities(), client._nobody()):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    assert client.authorities().get_ca_certs()
    assert not client._nobody().get_ca_certs(), "in the clear none is asked for; were one, it would be refused"
