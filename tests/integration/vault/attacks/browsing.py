"""Somebody at the forge's pages, as a browser is."""

from __future__ import annotations

import re
from html import unescape

import httpx


def sign_in(client: httpx.Client, url: str, login: str, password: str) -> None:
    """``client``: of the forge at ``url``."""
    page = client.get("/user/login").text
    hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
    form = {**{unescape(k): unescape(v) for k, v in hidden}, "login": login, "password": password}
    done = client.post("/user/login", data=form, headers={"Origin": url, "Sec-Fetch-Site": "same-origin"})
    assert f"/{login}" in done.text, "signed in"
