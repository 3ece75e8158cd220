"""``vault-promote``: give production the image that staging has under a digest, by the registry's own HTTP API (v2).

Within one registry: what production lacks is mounted from staging, then the name is pointed at the digest. A place of
files is the host's affair; then there is nothing to do here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from factory.vault.run.inside import given
from factory.vault.run.inside.ask import Answer, ask

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
IMAGES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ACCEPT = {"Accept": ", ".join((*IMAGES, *INDEXES))}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPO = re.compile(r"[a-z0-9][a-z0-9._/-]{0,199}")
_DEEP = 3


def main() -> int:
    """Compare, mount, point."""
    order = given.read()
    params, places = order["params"], order["settings"].get("places")
    place = places.get(params["place"]) if isinstance(places, dict) else None
    if not isinstance(place, dict):
        given.fail(f"the policy names no place {params['place']}")
    if place.get("kind") == "files":
        return 0
    host, source, target = (str(place.get(key, "")) for key in ("host", "from", "to"))
    digest, name = str(params["digest"]), str(params["name"])
    if place.get("kind") != "image" or not host or not _REPO.fullmatch(source) or not _REPO.fullmatch(target):
        given.fail(f"the place {params['place']} needs kind, host, from and to")
    if not _DIGEST.fullmatch(digest):
        given.fail("the digest must be sha256: and 64 hex digits")
    before = _now(host, target, name)
    if before != digest:
        _promote(host, source, target, digest, name)
        if _now(host, target, name) != digest:
            given.fail(f"{target}:{name} is not {digest} afterwards")
    given.result(place=params["place"], name=name, digest=digest, changed=before != digest)
    return 0


def _promote(host: str, source: str, target: str, digest: str, name: str) -> None:
    manifest = _manifest(host, source, digest)
    for child, body in _images(host, source, manifest):
        for blob in _blobs(child):
            if source != target:
                _mount(host, source, target, blob)
        if body is not manifest.body:
            _put(host, target, "sha256:" + hashlib.sha256(body).hexdigest(), child, body)
    _put(host, target, name, json.loads(manifest.body), manifest.body, manifest.headers.get("content-type", ""))


def _now(host: str, repo: str, name: str) -> str:
    """What the name points at; empty for nothing."""
    answer = ask("HEAD", host, f"/v2/{repo}/manifests/{name}", headers=ACCEPT)
    if answer.status == 404:
        return ""
    if not answer.good:
        given.fail(f"asking for {repo}:{name}: {answer.status}")
    return answer.headers.get("docker-content-digest", "")


def _manifest(host: str, repo: str, digest: str) -> Answer:
    answer = ask("GET", host, f"/v2/{repo}/manifests/{digest}", headers=ACCEPT)
    if not answer.good or f"sha256:{answer.sha256}" != digest:
        given.fail(f"{repo} has no manifest {digest} ({answer.status})")
    return answer


def _images(host: str, source: str, top: Answer, deep: int = 0) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every manifest that belongs to it, itself last."""
    document = json.loads(top.body)
    for child in document.get("manifests") or ():
        if deep >= _DEEP or not _DIGEST.fullmatch(str(child.get("digest"))):
            given.fail("the index is nested too deeply, or names no digest")
        yield from _images(host, source, _manifest(host, source, str(child["digest"])), deep + 1)
    yield document, top.body


def _blobs(manifest: dict[str, Any]) -> Iterator[str]:
    for part in (manifest.get("config"), *(manifest.get("layers") or ())):
        if isinstance(part, dict) and _DIGEST.fullmatch(str(part.get("digest"))):
            yield str(part["digest"])


def _mount(host: str, source: str, target: str, blob: str) -> None:
    if ask("HEAD", host, f"/v2/{target}/blobs/{blob}").good:
        return
    answer = ask("POST", host, f"/v2/{target}/blobs/uploads/?mount={blob}&from={source}", body=b"")
    if answer.status != 201:
        given.fail(f"the registry does not mount {blob} from {source} ({answer.status})")


def _put(host: str, target: str, name: str, manifest: dict[str, Any], body: bytes, kind: str = "") -> None:
    kind = str(manifest.get("mediaType") or kind or IMAGES[0])
    answer = ask("PUT", host, f"/v2/{target}/manifests/{name}", body=body, headers={"Content-Type": kind})
    if not answer.good:
        given.fail(f"the registry does not take {target}:{name} ({answer.status})")
