"""The effects of the host, by the names that formulas use. There are no others."""

from __future__ import annotations

from collections.abc import Mapping

from factory.vault.run.human import FilePending
from factory.vault.run.kept import FileEvidence
from factory.vault.run.promoted import PromoteFile
from factory.vault.run.release import CreateRelease, CreateTag, UploadAsset
from factory.vault.run.site import PublishSite
from factory.vault.run.tools import Effect

EFFECTS: Mapping[str, Effect] = {
    "create_tag": CreateTag(),
    "create_release": CreateRelease(),
    "upload_asset": UploadAsset(),
    "publish_site": PublishSite(),
    "promote_file": PromoteFile(),
    "file_pending": FilePending(),
    "file_evidence": FileEvidence(),
}
