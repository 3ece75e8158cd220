"""Pull requests, reviews and commit statuses. Merging is ``merge.py``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from factory.forge import decode
from factory.forge.calls import PAGE, Calls, at
from factory.forge.values import ChangedFile, CheckState, Pull, PullCommit, RepoName, Review, ReviewState, Status

_EXISTING = re.compile(r"\bissue_id: (\d+)")
"""In the 409 of a second pull request for the same branches; despite its name it is the pull request's number."""


class PullCalls(Calls):
    """The pull-request half of the Forge protocol."""

    def pull(self, repo: RepoName, number: int) -> Pull:
        return decode.pull(
            decode.record(self.get(at(repo, "pulls", number), doing=f"reading pull request {repo}#{number}"))
        )

    def pulls(self, repo: RepoName, *, state: str = "open") -> list[Pull]:
        query = {"state": state, "sort": "oldest"}
        rows = self.pages(at(repo, "pulls"), doing=f"listing the pull requests of {repo}", query=query)
        return sorted({pull.number: pull for pull in map(decode.pull, rows)}.values(), key=lambda pull: pull.number)

    def create_pull(self, repo: RepoName, *, head: str, base: str, title: str, body: str) -> Pull:
        doing = f"opening a pull request {head} -> {base} in {repo}"
        owner, colon, branch = head.rpartition(":")

        def matches(pull: Pull) -> bool:
            if pull.head_repo is not None:
                same_owner = pull.head_repo.owner.lower() == (owner if colon else repo.owner).lower()
            else:
                same_owner = not colon
            return pull.state == "open" and pull.head_ref == branch and pull.base_ref == base and same_owner

        def existing() -> Pull | None:
            return next((pull for pull in self.pulls(repo) if matches(pull)), None)

        def write() -> Pull:
            sent = {"head": head, "base": base, "title": title, "body": body}
            reply = self.ask("POST", at(repo, "pulls"), doing=doing, body=sent)
            if reply.status == 409:
                named = _EXISTING.search(reply.message)
                pull = self.pull(repo, int(named[1])) if named else None
                there = pull if pull is not None and matches(pull) else existing()
                if there is not None:
                    return there
            if reply.status != 201:
                raise self.refusal(reply, doing)
            return decode.pull(decode.record(reply.json()))

        return self.settled(doing, write, existing)

    def edit_pull(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Pull:
        fields = {k: v for k, v in (("title", title), ("body", body), ("state", state)) if v is not None}
        doing = f"editing pull request {repo}#{number}"

        def write() -> Pull:
            return decode.pull(decode.record(self.send("PATCH", at(repo, "pulls", number), doing=doing, body=fields)))

        def reread() -> Pull | None:
            pull = self.pull(repo, number)
            return pull if all(getattr(pull, key) == value for key, value in fields.items()) else None

        return self.settled(doing, write, reread)

    def pull_files(self, repo: RepoName, number: int) -> list[ChangedFile]:
        rows = self.pages(at(repo, "pulls", number, "files"), doing=f"listing the files of {repo}#{number}")
        return [decode.changed_file(row) for row in rows]

    def pull_commits(self, repo: RepoName, number: int) -> list[PullCommit]:
        query = {"files": "false", "verification": "false"}
        rows = self.pages(
            at(repo, "pulls", number, "commits"), doing=f"listing the commits of {repo}#{number}", query=query
        )
        return [decode.pull_commit(row) for row in rows]

    def pull_diff(self, repo: RepoName, number: int) -> str:
        doing = f"reading the diff of {repo}#{number}"
        reply = self.ask("GET", at(repo, "pulls") + f"/{number}.diff", doing=doing)
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return reply.body.decode("utf-8", "replace")

    def update_pull(self, repo: RepoName, number: int) -> None:
        """Merge the base into the head. Quietly nothing when the head is up to date (Forgejo answers that with 500).

        Raises ForgeRefused with status 409 when they conflict.
        """
        doing = f"updating {repo}#{number} from its base"

        def up_to_date() -> bool | None:
            pull = self.pull(repo, number)
            return True if pull.merge_base and pull.merge_base == pull.base_sha else None

        def write() -> bool:
            reply = self.ask(
                "POST", at(repo, "pulls", number, "update"), doing=doing, query={"style": "merge"}, body={}
            )
            if reply.status != 200:
                raise self.refusal(reply, doing)
            return True

        self.settled(doing, write, up_to_date)

    def reviews(self, repo: RepoName, number: int) -> list[Review]:
        # Paged only when `page` is sent; the whole list otherwise, oldest first, dismissed and requested ones included.
        rows = self.get(at(repo, "pulls", number, "reviews"), doing=f"reading the reviews of {repo}#{number}")
        return [decode.review(row) for row in decode.records(rows)]

    def review(
        self,
        repo: RepoName,
        number: int,
        *,
        state: ReviewState,
        body: str,
        commit: str,
        comments: Sequence[tuple[str, int, str]] = (),
    ) -> Review:
        """Submit one review of exactly ``commit``; ``comments`` are (path, line in the new file, text)."""
        doing = f"reviewing {repo}#{number}"
        sent = {
            "event": state.value,
            "body": body,
            "commit_id": commit,
            "comments": [{"path": path, "new_position": line, "body": text} for path, line, text in comments],
        }
        before = {review.id for review in self.reviews(repo, number)}

        def submitted() -> Review | None:
            return next(
                (
                    review
                    for review in reversed(self.reviews(repo, number))
                    if review.id not in before and (review.state, review.commit, review.body) == (state, commit, body)
                ),
                None,
            )

        made = self.settled(
            doing,
            lambda: decode.review(
                decode.record(self.send("POST", at(repo, "pulls", number, "reviews"), doing=doing, body=sent))
            ),
            submitted,
        )
        if made.state is not state:
            # An event the forge does not know silently becomes a draft that nobody else sees.
            raise self.missing(doing, f"the forge recorded {made.state.value} instead of {state.value}")
        return made

    def request_review(self, repo: RepoName, number: int, reviewers: Iterable[str]) -> None:
        wanted = sorted(set(reviewers))
        doing = f"asking {', '.join(wanted)} to review {repo}#{number}"

        def asked() -> bool | None:
            open_requests = {
                r.author.login for r in self.reviews(repo, number) if r.state is ReviewState.REQUEST_REVIEW
            }
            return True if set(wanted) <= open_requests else None

        def write() -> bool:
            self.send("POST", at(repo, "pulls", number, "requested_reviewers"), doing=doing, body={"reviewers": wanted})
            return True

        self.settled(doing, write, asked)

    def statuses(self, repo: RepoName, sha: str) -> list[Status]:
        """The newest status of each context. ``sha`` may be a branch name."""
        doing = f"reading the statuses of {repo}@{sha[:12]}"
        path = at(repo, "commits", sha, "status")
        found: dict[str, Status] = {}
        page = 1
        while True:
            # The body's `total_count` counts this page only.
            reply = self.ask("GET", path, doing=doing, query={"page": page, "limit": PAGE})
            if reply.status != 200:
                raise self.refusal(reply, doing)
            rows = decode.records(decode.record(reply.json()).get("statuses"))
            before = len(found)
            for row in rows:
                status = decode.status(row)
                found.setdefault(status.context, status)
            complete = reply.total is not None and len(found) >= reply.total and len(rows) < PAGE
            if complete or len(found) == before:
                return sorted(found.values(), key=lambda status: status.context)
            page += 1

    def post_status(
        self, repo: RepoName, sha: str, *, context: str, state: CheckState, description: str, target_url: str = ""
    ) -> Status:
        doing = f"posting the status {context} on {repo}@{sha[:12]}"
        sent = {"context": context, "state": state.value, "description": description, "target_url": target_url}

        def write() -> Status:
            return decode.status(decode.record(self.send("POST", at(repo, "statuses", sha), doing=doing, body=sent)))

        def reread() -> Status | None:
            newest = next((status for status in self.statuses(repo, sha) if status.context == context), None)
            same = newest is not None and (newest.state, newest.description) == (state, description)
            return newest if same else None

        made = self.settled(doing, write, reread)
        if (made.context, made.state) != (context, state):
            raise self.missing(doing, f"the forge recorded {made.context}={made.state.value}")
        return made

    def delete_branch(self, repo: RepoName, branch: str) -> None:
        """Gone afterwards; deleting an absent branch is done already."""
        doing = f"deleting the branch {branch} of {repo}"
        path = at(repo, "branches", branch)

        def gone() -> bool | None:
            return True if self.ask("GET", path, doing=doing).status == 404 else None

        def write() -> bool:
            reply = self.ask("DELETE", path, doing=doing)
            if reply.status == 404 and self.ask("GET", at(repo), doing=doing).status == 200:
                return True
            if reply.status != 204:
                raise self.refusal(reply, doing)
            return True

        self.settled(doing, write, gone)
