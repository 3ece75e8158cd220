"""An in-memory forge that speaks the Forge protocol, for tests: no process, no network, a clock moved by hand.

One object is one account's view; ``as_user`` gives another account's view of the same forge. It keeps the rules that
decisions lean on (label events, official and stale reviews, merge checks, ``updated_at``) and is held to the same
contract suite as the embedded forge, as far as it goes. Not kept: token scopes, teams, forks, page limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from factory.forge.values import (
    BranchProtection,
    ForgeVersion,
    Issue,
    Label,
    Pull,
    Repo,
    RepoName,
    User,
)
from factory.testing.fake_account import refused
from factory.testing.fake_issues import FakeIssueCalls
from factory.testing.fake_pulls import FakePullCalls
from factory.testing.fake_world import RANKS, FakeItem, FakeRepo


class FakeForge(FakeIssueCalls, FakePullCalls):
    """The Forge protocol for ``login``. Shared state is in ``world``."""

    # arranging a test
    def as_user(self, login: str) -> FakeForge:
        """The same forge for another account (made when new)."""
        return FakeForge(login, world=self.world)

    def advance(self, seconds: float) -> None:
        """Move the forge's clock."""
        self.world.advance(seconds)

    def add_repo(
        self,
        name: RepoName,
        *,
        files: Mapping[str, str] | None = None,
        permissions: Mapping[str, str] | None = None,
        labels: Iterable[str] = (),
        private: bool = True,
        default_branch: str = "main",
    ) -> FakeRepo:
        """A repo with one commit (none with ``files={}``), collaborators and labels."""
        self.world.user(name.owner)
        repo = FakeRepo(next(self.world.ids), name, default_branch, private, permissions=dict(permissions or {}))
        for login in repo.permissions:
            self.world.user(login)
        for text in labels:
            repo.labels[text] = Label(next(self.world.ids), text, "cccccc")
        self.world.repos[name] = repo
        first = {"README.md": f"# {name.name}\n"} if files is None else files
        if first:
            repo.refs[f"refs/heads/{default_branch}"] = self.world.git.commit(first, (), "First commit")
        return repo

    def commit(
        self,
        repo: RepoName,
        branch: str,
        files: Mapping[str, str | None],
        *,
        start: str | None = None,
        message: str = "Edit",
    ) -> str:
        """Commit onto a branch (a new one starts at ``start`` or the default branch) and push; None deletes a file."""
        kept = self.world.repos[repo]
        parent = kept.branch(branch) or start or kept.branch(kept.default_branch)
        tree = dict(self.world.git.tree(parent)) if parent else {}
        for path, content in files.items():
            if content is None:
                tree.pop(path, None)
            else:
                tree[path] = content
        sha = self.world.git.commit(tree, (parent,) if parent else (), message)
        self.set_ref(repo, f"refs/heads/{branch}", sha)
        return sha

    def protect(self, repo: RepoName, rule: BranchProtection) -> None:
        """Add or replace a rule."""
        kept = self.world.repos[repo]
        kept.protections = [known for known in kept.protections if known.rule_name != rule.rule_name] + [rule]

    # the protocol
    def version(self) -> ForgeVersion:
        self.requests += 1
        return ForgeVersion("embedded", "15.0.3+gitea-1.22.0", 15)

    def me(self) -> User:
        self.requests += 1
        return self.world.user(self.login)

    def repo(self, repo: RepoName) -> Repo:
        kept = self._ask(repo)
        rank = self.world.rank(kept, self.login)
        may = [
            word
            for word, need in (("pull", "read"), ("push", "write"), ("admin", "admin"))
            if rank >= RANKS.index(need)
        ]
        return Repo(
            kept.id, kept.name, kept.default_branch, kept.private, not kept.refs, False, False, False, frozenset(may)
        )

    def changed_since(
        self, owner: str, since: datetime | None, *, settled: datetime | None = None
    ) -> tuple[list[tuple[RepoName, Issue | Pull]], datetime | None]:
        self.requests += 1
        if self.faults:
            raise self.faults.pop(0)
        found: list[tuple[RepoName, Issue | Pull]] = []
        for kept in self.world.repos.values():
            if kept.name.owner.lower() != owner.lower() or (kept.private and self.world.rank(kept, self.login) < 1):
                continue
            for item in kept.items.values():
                if since is None or item.updated_at >= since.replace(microsecond=0):
                    found.append((kept.name, self._searched(kept, item)))
        found.sort(key=lambda row: row[1].updated_at, reverse=True)
        pages = [found[at : at + 50] for at in range(0, len(found), 50)]
        shown: list[tuple[RepoName, Issue | Pull]] = []
        for at, page in enumerate(pages):
            self.requests += 1 if at else 0
            shown += page
            if settled is not None and page[-1][1].updated_at <= settled:
                break
        return shown, max((item.updated_at for _, item in found), default=None)

    def _searched(self, repo: FakeRepo, item: FakeItem) -> Issue | Pull:
        if item.head is None:
            return self.world.as_issue(repo, item)
        pull = self.world.as_pull(repo, item)
        return replace(
            pull, head_ref="", head_sha="", head_repo=None, base_ref="", base_sha="", merge_base="", merge_commit=None
        )

    def ls_refs(self, repo: RepoName, prefixes: Sequence[str]) -> dict[str, str]:
        kept = self._ask(repo)
        pulls = {f"refs/pull/{n}/head": self.world.head_sha(kept, item) for n, item in kept.items.items() if item.head}
        refs = {**kept.refs, **pulls}
        return {ref: sha for ref, sha in sorted(refs.items()) if not prefixes or ref.startswith(tuple(prefixes))}

    # settings
    def collaborators(self, repo: RepoName) -> list[User]:
        return [self.world.user(login) for login in sorted(self._ask(repo).permissions)]

    def permission(self, repo: RepoName, login: str) -> str:
        kept = self._ask(repo)
        if login != self.login and self.world.rank(kept, self.login) < RANKS.index("admin"):
            raise refused(f"reading what {login} may do in {repo}", 403, "")
        return RANKS[self.world.rank(kept, login)]

    def protections(self, repo: RepoName) -> list[BranchProtection]:
        return list(self._ask(repo, "admin", f"reading the branch protections of {repo}").protections)

    def delete_branch(self, repo: RepoName, branch: str) -> None:
        doing = f"deleting the branch {branch} of {repo}"
        kept = self._ask(repo, "write", doing)
        if branch == kept.default_branch or kept.rule(branch) is not None:
            raise refused(doing, 403, "branch protected")
        self.set_ref(repo, f"refs/heads/{branch}", None)
