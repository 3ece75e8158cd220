"""A ledger as long as one likes, and the main it speaks of, written by one ``git fast-import``: every entry is true."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

from factory.git.hardened import Git
from factory.vault.action import Action, Tier
from factory.vault.authority import controlled
from factory.vault.canonical import json_bytes, sha256
from factory.vault.formulas import read
from factory.vault.ledger import ALL, Entry
from factory.vault.policy import read as read_policy
from factory.vault.verify import identity
from tests.integration.vault.house import ADMIN, NOW, OPS, VAULT_BOT, formula_bytes, policy_bytes

LOST = ("VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED")
DONE = ("VERIFIED", "CLAIMED", "STARTED", "DONE")


class Import:
    """Talks with a running ``git fast-import``."""

    def __init__(self, repo: Path) -> None:
        self._git = subprocess.Popen(
            ["git", f"--git-dir={repo}", "fast-import", "--quiet", "--force", "--date-format=raw"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/x"},
        )  # fmt: skip
        self._mark = 0

    def commit(self, branch: str, path: str, data: bytes, *parents: str) -> str:
        """One more file on a branch, as a commit with these parents (marks or ids); its mark."""
        assert self._git.stdin is not None
        self._mark += 1
        text = f"commit refs/heads/{branch}\nmark :{self._mark}\ncommitter d <d@x.invalid> 1800000000 +0000\ndata 0\n"
        text += "".join(f"{'merge' if n else 'from'} {parent}\n" for n, parent in enumerate(parents))
        self._git.stdin.write(f"{text}M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        return f":{self._mark}"

    def oid(self, mark: str) -> str:
        assert self._git.stdin is not None
        assert self._git.stdout is not None
        self._git.stdin.write(f"get-mark {mark}\n".encode())
        self._git.stdin.flush()
        return self._git.stdout.readline().decode().strip()

    def end(self) -> None:
        assert self._git.stdin is not None
        assert self._git.stdout is not None
        self._git.stdin.close()
        assert self._git.wait() == 0
        self._git.stdout.close()


def build(folder: Path, actions: int, retries: int) -> Git:
    """A repo with ``main`` and a ledger of actions that were lost and tried again so often before they were done: five
    entries for each retry and five more for each action. Those of one try are one push."""
    git = Git(folder / "long.git", "")
    data, formula = policy_bytes(), read(formula_bytes("beta") or b"")
    policy = read_policy(data)
    into = Import(git.repo)
    first = into.oid(into.commit("main", "vault/policy.toml", data))
    into.end()
    genesis = {
        "forge": OPS.forge, "repo": OPS.id, "owner": OPS.owner, "name": OPS.name, "bots": [VAULT_BOT],
        "vault_bot": VAULT_BOT, "commit": first, "policy_digest": policy.digest, "policy_version": 1,
        "controlled": controlled(git, first),
    }  # fmt: skip
    into = Import(git.repo)
    entry = Entry("GENESIS", ALL, f"{0:032x}", "init/1", NOW, evidence=genesis)
    last, main, seq = into.commit("ledger", entry.path, entry.write()), first, 1
    for number in range(actions):
        action = _action(number)
        file = action.write()
        head = into.commit("request", action.path, file, main)
        main = into.commit("main", action.path, file, main, head)
        told = identity(OPS.forge, OPS.id, "main", action, file, formula, policy, 1)
        verified = {
            "merge": into.oid(main), "head": into.oid(head), "base": "refs/heads/main", "pull": number,
            "blob_sha256": sha256(file), "formula": formula.key, "formula_digest": formula.digest, "class": "B",
            "minutes": 10, "policy_version": 1, "policy_digest": policy.digest, "trust": first, "tier": "medium",
            "reasons": ["because"], "approvers": [ADMIN], "target": action.target, "requester": action.requester,
            "content": action.content, "unblocks": [], "runs": 1, "every_hours": 0, "not_before": action.not_before,
            "expires": action.expires, "settings": "s",
        }  # fmt: skip
        said = {"VERIFIED": verified, "STARTED": {"trust": first}, "DONE": {"words": "did it", "log_sha256": "0" * 64}}
        digest, epoch, run = sha256(json_bytes(told)), 0, ""
        for batch in (("SEEN",), *([LOST] * retries), DONE):
            prev = into.oid(last)
            for kind in batch:
                epoch += kind in ("CLAIMED", "FENCED")
                run = run if kind in ("STARTED", "DONE") else f"{seq:032x}"
                mine = "" if kind == "SEEN" else digest
                entry = Entry(kind, action.id, run, "h/1", NOW, epoch, mine, said.get(kind, {}), seq, prev)
                last, seq = into.commit("ledger", entry.path, entry.write(), last), seq + 1
    into.end()
    return git


def _action(number: int) -> Action:
    day = NOW - timedelta(hours=1)
    return Action(
        id=f"2026-11-28-beta-{number:06x}", formula="beta@1", blast_radius=Tier.LOW, target=f"beta:p{number}",
        not_before=day, expires=day + timedelta(hours=24), reason="because", requester="run:1",
        params={"place": f"p{number}"},
    )  # fmt: skip
