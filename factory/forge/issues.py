"""Issues, comments, labels, timeline and dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from factory.errors import ForgeRefused, NotFound
from factory.forge import decode
from factory.forge.calls import DEFAULT_PAGE, MOST_PAGES, Calls, at
from factory.forge.values import Comment, Dependency, Issue, Label, Pull, RepoName, TimelineEvent


def rfc3339(when: datetime) -> str:
    """A time as Forgejo reads it: UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class IssueCalls(Calls):
    """The issue half of the Forge protocol."""

    def changed_since(
        self, owner: str, since: datetime | None, *, settled: datetime | None = None
    ) -> tuple[list[tuple[RepoName, Issue | Pull]], datetime | None]:
        # No `type`: only its absence returns issues and pull requests. No `q`: that would ask the lagging index.
        query = {"owner": owner, "state": "all", "sort": "recentupdate"}
        if since is not None:
            query["since"] = rfc3339(since)

        times: list[datetime] = []

        def enough(page: list[Mapping[str, Any]]) -> bool:
            times.extend(decode.when(row, "updated_at") for row in page)
            # A server that ignores `sort` (Forgejo 11) is read to its end.
            return settled is not None and times == sorted(times, reverse=True) and times[-1] <= settled

        doing = f"looking for what changed in {owner}'s repos"
        rows = self.pages("/repos/issues/search", doing=doing, query=query, enough=enough)
        items: dict[tuple[RepoName, int], tuple[RepoName, Issue | Pull]] = {}
        for row in rows:
            repo = decode.repo_name(row.get("repository"))
            item = decode.found(row)
            # An old server ignores an owner it does not filter by; the watermark is about this owner only.
            if repo is not None and repo.owner.lower() == owner.lower():
                items.setdefault((repo, item.number), (repo, item))
        newest = max((item.updated_at for _, item in items.values()), default=None)
        return list(items.values()), newest

    def issue(self, repo: RepoName, number: int) -> Issue:
        doing = f"reading issue {repo}#{number}"
        data = decode.record(self.get(at(repo, "issues", number), doing=doing))
        if data.get("pull_request") is not None:
            raise NotFound(f"{doing}: #{number} is a pull request", status=404, detail="is a pull request")
        return decode.issue(data)

    def issues(self, repo: RepoName, *, state: str = "open", labels: Iterable[str] = ()) -> list[Issue]:
        wanted = frozenset(labels)
        query = {"state": state, "type": "issues", "sort": "oldest"}
        if wanted:
            query["labels"] = ",".join(sorted(wanted))
        rows = self.pages(at(repo, "issues"), doing=f"listing the issues of {repo}", query=query)
        found = {
            row_issue.number: row_issue for row_issue in (decode.issue(r) for r in rows if not r.get("pull_request"))
        }
        # Forgejo drops label names it does not know from the filter, in the extreme the whole filter.
        return [issue for _, issue in sorted(found.items()) if wanted <= issue.labels]

    def create_issue(self, repo: RepoName, *, title: str, body: str, labels: Iterable[str] = ()) -> Issue:
        wanted = frozenset(labels)
        doing = f"filing an issue in {repo}"
        ids: list[int] = []
        if wanted:
            known = {label.name: label.id for label in self.labels(repo)}
            unknown = sorted(wanted - known.keys())
            if unknown:
                raise ForgeRefused(
                    f"{doing}: no such label: {', '.join(unknown)}",
                    status=422,
                    detail="unknown label",
                    hint="create the label first, or run the set-up again",
                )
            ids = sorted(known[name] for name in wanted)
        made = decode.issue(
            decode.record(
                self.send("POST", at(repo, "issues"), doing=doing, body={"title": title, "body": body, "labels": ids})
            )
        )
        if not wanted <= made.labels:
            lost = ", ".join(sorted(wanted - made.labels))
            raise self.missing(
                doing,
                f"#{made.number} was created without the label {lost}",
                hint="this account may open issues there but not label them: it needs write permission on issues",
            )
        return made

    def edit_issue(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Issue:
        fields = {k: v for k, v in (("title", title), ("body", body), ("state", state)) if v is not None}
        doing = f"editing issue {repo}#{number}"
        path = at(repo, "issues", number)

        def done(issue: Issue) -> bool:
            return all(getattr(issue, key) == value for key, value in fields.items())

        def write() -> Issue:
            return decode.issue(decode.record(self.send("PATCH", path, doing=doing, body=fields)))

        def reread() -> Issue | None:
            issue = self.issue(repo, number)
            return issue if done(issue) else None

        return self.settled(doing, write, reread)

    def comments(self, repo: RepoName, number: int) -> list[Comment]:
        # This list ignores page and limit and always returns everything.
        rows = self.get(at(repo, "issues", number, "comments"), doing=f"reading the comments of {repo}#{number}")
        return [decode.comment(row) for row in decode.records(rows)]

    def comment(self, repo: RepoName, number: int, body: str) -> Comment:
        doing = f"commenting on {repo}#{number}"
        sent = {"body": body}
        return decode.comment(
            decode.record(self.send("POST", at(repo, "issues", number, "comments"), doing=doing, body=sent))
        )

    def edit_comment(self, repo: RepoName, comment_id: int, body: str) -> Comment:
        doing = f"editing comment {comment_id} in {repo}"
        path = at(repo, "issues", "comments", comment_id)

        def write() -> Comment:
            return decode.comment(decode.record(self.send("PATCH", path, doing=doing, body={"body": body})))

        def reread() -> Comment | None:
            comment = decode.comment(decode.record(self.get(path, doing=doing)))
            return comment if comment.body == body else None

        return self.settled(doing, write, reread)

    def timeline(self, repo: RepoName, number: int) -> list[TimelineEvent]:
        # Without `page` Forgejo returns the whole timeline; its paging loses rows (it filters after cutting pages).
        doing = f"reading the timeline of {repo}#{number}"
        path = at(repo, "issues", number, "timeline")
        rows = {decode.number(row, "id"): row for row in decode.records(self.get(path, doing=doing))}
        page, empty = 2, 0 if len(rows) >= DEFAULT_PAGE else 2
        # A server that cuts it all the same (Gitea) is found out by its second page; empty pages may lie between.
        while empty < 2 and page <= MOST_PAGES:
            more = decode.records(self.get(path, doing=doing, query={"page": page, "limit": DEFAULT_PAGE}))
            new = {decode.number(row, "id"): row for row in more if decode.number(row, "id") not in rows}
            if page == 2 and not new and more:
                break
            rows |= new
            page, empty = page + 1, 0 if new else empty + 1
        return [decode.timeline_event(row) for row in rows.values()]

    def labels(self, repo: RepoName) -> list[Label]:
        rows = self.pages(at(repo, "labels"), doing=f"listing the labels of {repo}")
        return [decode.label(row) for row in rows]

    def create_label(self, repo: RepoName, label: Label) -> Label:
        """Create it unless one of that name exists (names are not unique on the forge)."""
        doing = f"creating the label {label.name} in {repo}"
        body = {
            "name": label.name,
            "color": f"#{label.color.lstrip('#')}",
            "description": label.description,
            "exclusive": label.exclusive,
        }

        def existing() -> Label | None:
            return next((known for known in self.labels(repo) if known.name == label.name), None)

        known = existing()
        if known is not None:
            return known
        return self.settled(
            doing,
            lambda: decode.label(decode.record(self.send("POST", at(repo, "labels"), doing=doing, body=body))),
            existing,
        )

    def add_labels(self, repo: RepoName, number: int, labels: Iterable[str]) -> frozenset[str]:
        wanted = frozenset(labels)
        doing = f"labelling {repo}#{number}"
        path = at(repo, "issues", number, "labels")
        if not wanted:
            return decode.label_names(self.get(path, doing=doing))

        def reread() -> frozenset[str] | None:
            there = decode.label_names(self.get(path, doing=doing))
            return there if wanted <= there else None

        there = self.settled(
            doing,
            lambda: decode.label_names(self.send("POST", path, doing=doing, body={"labels": sorted(wanted)})),
            reread,
        )
        if not wanted <= there:
            lost = ", ".join(sorted(wanted - there))
            raise self.missing(
                doing, f"the forge ignored {lost}", hint="create the label first, or run the set-up again"
            )
        return there

    def remove_label(self, repo: RepoName, number: int, label: str) -> None:
        doing = f"taking the label {label} off {repo}#{number}"

        def there() -> list[Label]:
            rows = decode.records(self.get(at(repo, "issues", number, "labels"), doing=doing))
            return [one for one in map(decode.label, rows) if one.name == label]

        def gone() -> bool | None:
            return None if there() else True

        def ask(which: str, *fine: int) -> int:
            reply = self.ask("DELETE", at(repo, "issues", number, "labels", which), doing=doing)
            if reply.status not in (200, 204, *fine):
                raise self.refusal(reply, doing)
            return reply.status

        def write() -> bool:
            # 422: the repo has no such label. Or a forge that knows labels by number only (Forgejo 11, Gitea).
            if ask(label, 422) == 422:
                for one in there():
                    ask(str(one.id))
            return True

        self.settled(doing, write, gone)

    def dependencies(self, repo: RepoName, number: int) -> list[Dependency]:
        rows = self.pages(at(repo, "issues", number, "dependencies"), doing=f"reading what {repo}#{number} depends on")
        found = [decode.dependency(row, repo) for row in rows]
        return list({(item.repo, item.number): item for item in found}.values())

    def add_dependency(self, repo: RepoName, number: int, on: tuple[RepoName, int]) -> None:
        doing = f"making {repo}#{number} depend on {on[0]}#{on[1]}"
        if on == (repo, number):
            # The forge accepts this, and the issue can then never be closed.
            raise ForgeRefused(f"{doing}: an issue cannot depend on itself", status=422, detail="self-dependency")

        def there() -> bool | None:
            return True if any((d.repo, d.number) == on for d in self.dependencies(repo, number)) else None

        def write() -> bool:
            body = {"owner": on[0].owner, "repo": on[0].name, "index": on[1]}
            self.send("POST", at(repo, "issues", number, "dependencies"), doing=doing, body=body)
            return True

        # A duplicate is answered with 500, like every failure the forge did not foresee: reading tells them apart.
        self.settled(doing, write, there)
