"""A project on a real forge, with the accounts of the set-up, and the runner's view of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git.transport import Remote
from factory.vault.run.tree import ProjectView
from tests.integration.vault.run.house import token

REPO = RepoName("ann", "tally")


class Shop:
    """A project on a forge, with the accounts of the set-up."""

    def __init__(self, url: str, admin: ForgejoClient, folder: Path) -> None:
        self.url, self.admin, self.folder = url, admin, folder
        self.tokens = {login: self.account(login) for login in ("ann", "release-bot", "dev-bot")}
        self.ann, self.bot, self.dev = (ForgejoClient(url, self.tokens[one]) for one in self.tokens)
        self.ann.ask("DELETE", f"/repos/{REPO}", doing="x")  # of an earlier run on a forge that is kept
        made = {"name": "tally", "private": True, "default_branch": "main"}
        self.ann.send("POST", "/user/repos", doing="x", body=made)
        for login in ("release-bot", "dev-bot"):
            self.admin.set_collaborator(REPO, login, "write")
        self.work = folder / "work"
        self.git("init", "-q", "-b", "main", str(self.work), cwd=folder)
        (self.work / "tally").mkdir()
        (self.work / "tally/__init__.py").write_text("x = 1\n")
        (self.work / "run.sh").write_text("#!/bin/sh\n")
        (self.work / "run.sh").chmod(0o755)
        (self.work / "link").symlink_to("tally/__init__.py")
        (self.work / ".gitattributes").write_text("*.sh export-ignore\n*.txt filter=evil export-subst\n")
        (self.work / "v.txt").write_text("$Format:%H$\n")
        self.commit = self.push("First")

    def account(self, login: str) -> str:
        """A token of this account, made with a password of its own as every Forgejo can."""
        password = "aA1-" + token()
        if self.admin.user(login) is None:
            self.admin.create_user(login, email=f"{login}@x.invalid", password=password)
        else:
            self.admin.set_password(login, password)
        with ForgejoClient(self.url, basic=(login, password)) as own:
            scopes = ("write:repository", "write:user")
            return own.create_token(login, name=token(), scopes=scopes, as_admin=False)

    def git(self, *argv: str, cwd: Path | None = None) -> str:
        who = {f"GIT_{who}_{what}": "ann@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "GIT_CONFIG_GLOBAL": "/dev/null", **who}
        done = subprocess.run(["git", *argv], cwd=cwd or self.work, capture_output=True, text=True, check=True, env=env)
        return done.stdout.strip()

    def push(self, message: str, branch: str = "main") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", self.url.replace("://", f"://ann:{self.tokens['ann']}@") + f"/{REPO}.git",
                 f"HEAD:refs/heads/{branch}")  # fmt: skip
        return self.git("rev-parse", "HEAD")

    def asset(self, tag: str) -> bytes:
        release = self.bot.release_of(REPO, tag)
        assert release is not None
        (asset,) = release.assets
        return self.bot.download(f"/attachments/{asset.key}", doing="x", most=1 << 24).body

    def close(self) -> None:
        for client in (self.admin, self.ann, self.bot, self.dev):
            client.close()


def view_of(shop: Shop, folder: Path) -> ProjectView:
    """The project as the account of releases fetches it."""
    remote = Remote(f"{shop.url}/{REPO}.git", "release-bot", shop.tokens["release-bot"])
    return ProjectView(REPO, lambda: remote, lambda: "main", folder / "view.git")
