"""Issues, comments, labels, timeline and dependencies of ``FakeForge``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from factory.errors import NotFound
from factory.forge.values import (
    Comment,
    Dependency,
    Issue,
    Label,
    RepoName,
    TimelineEvent,
)
from factory.testing.fake_account import FakeAccount, refused
from factory.testing.fake_world import FakeItem, FakeRepo


class FakeIssueCalls(FakeAccount):
    """The issue half of the protocol."""

    def issue(self, repo: RepoName, number: int) -> Issue:
        kept = self._ask(repo)
        return self.world.as_issue(kept, self.world.item(kept, number, pull=False))

    def issues(self, repo: RepoName, *, state: str = "open", labels: Iterable[str] = ()) -> list[Issue]:
        kept, wanted = self._ask(repo), frozenset(labels)
        found = [self.world.as_issue(kept, item) for _, item in sorted(kept.items.items()) if item.head is None]
        return [issue for issue in found if state in ("all", issue.state.value) and wanted <= issue.labels]

    def create_issue(self, repo: RepoName, *, title: str, body: str, labels: Iterable[str] = ()) -> Issue:
        kept, wanted = self._ask(repo), sorted(set(labels))
        if wanted and self.world.rank(kept, self.login) < 2:
            raise refused(f"filing an issue in {repo}", 200, f"created without the label {', '.join(wanted)}")
        unknown = [name for name in wanted if name not in kept.labels]
        if unknown:
            raise refused(f"filing an issue in {repo}", 422, f"no such label: {', '.join(unknown)}")
        item = self._new(kept, title, body)
        for name in wanted:
            self._label(kept, item, name)
        return self.world.as_issue(kept, item)

    def edit_issue(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Issue:
        kept = self._ask(repo)
        item = self.world.item(kept, number)
        self._edit(kept, item, title, body, state)
        return self.world.as_issue(kept, item)

    def comments(self, repo: RepoName, number: int) -> list[Comment]:
        return list(self.world.item(self._ask(repo), number).comments)

    def comment(self, repo: RepoName, number: int, body: str) -> Comment:
        item = self.world.item(self._ask(repo), number)
        now = self.world.second
        comment = Comment(next(self.world.ids), self.world.user(self.login), body, now, now)
        item.comments.append(comment)
        self.world.event(item, "comment", self.login, detail=body, number=comment.id)
        return comment

    def edit_comment(self, repo: RepoName, comment_id: int, body: str) -> Comment:
        kept = self._ask(repo)
        for item in kept.items.values():
            for at, comment in enumerate(item.comments):
                if comment.id == comment_id:
                    if comment.author.login != self.login and self.world.rank(kept, self.login) < 2:
                        raise refused(f"editing comment {comment_id} in {repo}", 403, "")
                    # The item's updated_at does not move, as on the real one.
                    item.comments[at] = replace(comment, body=body, updated_at=self.world.second)
                    return item.comments[at]
        raise NotFound(f"editing comment {comment_id} in {repo}: the forge answered 404", status=404)

    def timeline(self, repo: RepoName, number: int) -> list[TimelineEvent]:
        return list(self.world.item(self._ask(repo), number).timeline)

    def labels(self, repo: RepoName) -> list[Label]:
        return list(self._ask(repo).labels.values())

    def create_label(self, repo: RepoName, label: Label) -> Label:
        kept = self._ask(repo, "write", f"creating the label {label.name} in {repo}")
        return kept.labels.setdefault(label.name, replace(label, id=next(self.world.ids)))

    def add_labels(self, repo: RepoName, number: int, labels: Iterable[str]) -> frozenset[str]:
        kept = self._ask(repo, "write", f"labelling {repo}#{number}")
        item = self.world.item(kept, number)
        wanted = frozenset(labels)
        for name in sorted(wanted & kept.labels.keys()):
            self._label(kept, item, name)
        if not wanted <= item.labels:
            lost = ", ".join(sorted(wanted - item.labels))
            raise refused(f"labelling {repo}#{number}", 200, f"the forge ignored {lost}")
        return frozenset(item.labels)

    def _label(self, repo: FakeRepo, item: FakeItem, name: str) -> None:
        if name in item.labels:
            return
        scope = name.rpartition("/")[0]
        if repo.labels[name].exclusive and scope:
            for other in [o for o in item.labels if repo.labels[o].exclusive and o.rpartition("/")[0] == scope]:
                item.labels.discard(other)
                self.world.event(item, "label", self.login, label=other, added=False)
        item.labels.add(name)
        self.world.event(item, "label", self.login, label=name, added=True)

    def remove_label(self, repo: RepoName, number: int, label: str) -> None:
        item = self.world.item(self._ask(repo, "write", f"taking a label off {repo}#{number}"), number)
        if label in item.labels:
            item.labels.discard(label)
            self.world.event(item, "label", self.login, label=label, added=False)

    def dependencies(self, repo: RepoName, number: int) -> list[Dependency]:
        found = []
        for name, other in self.world.item(self._ask(repo), number).depends_on:
            item = self.world.repos[name].items[other]
            found.append(Dependency(name, other, item.state, frozenset(item.labels), item.title))
        return found

    def add_dependency(self, repo: RepoName, number: int, on: tuple[RepoName, int]) -> None:
        doing = f"making {repo}#{number} depend on {on[0]}#{on[1]}"
        if on == (repo, number):
            raise refused(doing, 422, "self-dependency")
        item = self.world.item(self._ask(repo, "write", doing), number)
        other = self.world.item(self.world.repo(on[0], self.login), on[1])
        if on in item.depends_on:
            return
        if (repo, number) in other.depends_on:
            raise refused(doing, 500, "circular dependency")
        item.depends_on.append(on)
        self.world.event(item, "add_dependency", self.login)
        self.world.event(other, "add_dependency", self.login)
