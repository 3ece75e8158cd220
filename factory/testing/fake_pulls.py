"""Pull requests, reviews, statuses and merging of ``FakeForge``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from factory.errors import NotFound
from factory.forge.globs import matches
from factory.forge.values import (
    BranchProtection,
    ChangedFile,
    CheckState,
    ItemState,
    Pull,
    RepoName,
    Review,
    ReviewState,
    Status,
)
from factory.testing.fake_account import FakeAccount, refused
from factory.testing.fake_world import FakeItem, FakeRepo

_VERDICTS = (ReviewState.APPROVED, ReviewState.REQUEST_CHANGES)


class FakePullCalls(FakeAccount):
    """The pull-request half of the protocol."""

    def pull(self, repo: RepoName, number: int) -> Pull:
        kept = self._ask(repo)
        return self.world.as_pull(kept, self.world.item(kept, number, pull=True))

    def pulls(self, repo: RepoName, *, state: str = "open") -> list[Pull]:
        kept = self._ask(repo)
        found = [self.world.as_pull(kept, item) for _, item in sorted(kept.items.items()) if item.head is not None]
        return [pull for pull in found if state in ("all", pull.state.value)]

    def create_pull(self, repo: RepoName, *, head: str, base: str, title: str, body: str) -> Pull:
        kept, branch = self._ask(repo), head.rpartition(":")[2]
        doing = f"opening a pull request {head} -> {base} in {repo}"
        if branch == base:
            raise refused(doing, 422, "head and base are the same")
        if kept.branch(branch) is None or kept.branch(base) is None:
            raise NotFound(f"{doing}: the forge answered 404", status=404, detail="The target couldn't be found.")
        for item in kept.items.values():
            if item.state is ItemState.OPEN and (item.head, item.base) == (branch, base):
                return self.world.as_pull(kept, item)
        item = self._new(kept, title, body)
        item.head, item.base, item.head_sha = branch, base, kept.branch(branch) or ""
        return self.world.as_pull(kept, item)

    def edit_pull(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Pull:
        kept = self._ask(repo)
        item = self.world.item(kept, number, pull=True)
        if item.merged and state is not None:
            raise refused(f"editing pull request {repo}#{number}", 412, "cannot change state of this pull request")
        self._edit(kept, item, title, body, state)
        return self.world.as_pull(kept, item)

    def _range(self, kept: FakeRepo, number: int) -> tuple[str, str]:
        pull = self.world.as_pull(kept, self.world.item(kept, number, pull=True))
        return pull.merge_base, pull.head_sha

    def pull_files(self, repo: RepoName, number: int) -> list[ChangedFile]:
        return self.world.git.changes(*self._range(self._ask(repo), number))

    def pull_diff(self, repo: RepoName, number: int) -> str:
        return self.world.git.diff(*self._range(self._ask(repo), number))

    def update_pull(self, repo: RepoName, number: int) -> None:
        doing = f"updating {repo}#{number} from its base"
        kept = self._ask(repo, "write", doing)
        pull = self.world.as_pull(kept, self.world.item(kept, number, pull=True))
        if pull.merge_base == pull.base_sha:
            return
        tree = self.world.git.merged_tree(pull.head_sha, pull.base_sha)
        if tree is None:
            raise refused(doing, 409, "merge failed because of conflict")
        sha = self.world.git.commit(tree, (pull.head_sha, pull.base_sha), f"Merge {pull.base_ref} into {pull.head_ref}")
        self.set_ref(repo, f"refs/heads/{pull.head_ref}", sha)

    def reviews(self, repo: RepoName, number: int) -> list[Review]:
        return list(self.world.item(self._ask(repo), number, pull=True).reviews)

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
        doing = f"reviewing {repo}#{number}"
        kept = self._ask(repo)
        item = self.world.item(kept, number, pull=True)
        if state in _VERDICTS and item.author.login == self.login:
            word = "approve" if state is ReviewState.APPROVED else "reject"
            raise refused(doing, 422, f"{word} your own pull is not allowed")
        if state is not ReviewState.APPROVED and not body and not comments:
            raise refused(doing, 422, f"review event {state.value} requires a body or a comment")
        if commit not in self.world.git.commits:
            raise refused(doing, 500, "")
        verdict = state in _VERDICTS
        if verdict:
            item.reviews = [
                replace(old, official=False, dismissed=old.dismissed or old.state in _VERDICTS)
                if old.author.login == self.login and old.state is not ReviewState.REQUEST_REVIEW
                else old
                for old in item.reviews
                if not (old.author.login == self.login and old.state is ReviewState.REQUEST_REVIEW)
            ]
        made = Review(
            next(self.world.ids), self.world.user(self.login), state, commit, body,
            verdict and self._official(kept, item.base, self.login), commit != self.world.head_sha(kept, item), False,
            self.world.second,
        )  # fmt: skip
        item.reviews.append(made)
        self.world.event(item, "review", self.login, detail=body)
        return made

    def _official(self, repo: FakeRepo, base: str, login: str) -> bool:
        rule = repo.rule(base)
        if rule is not None and rule.enable_approvals_whitelist:
            return login in rule.approvals_whitelist_usernames
        return self.world.rank(repo, login) >= 2

    def request_review(self, repo: RepoName, number: int, reviewers: Iterable[str]) -> None:
        doing = f"asking for a review of {repo}#{number}"
        kept = self._ask(repo)
        item = self.world.item(kept, number, pull=True)
        for login in sorted(set(reviewers)):
            if login not in self.world.users:
                raise NotFound(f"{doing}: the forge answered 404: user does not exist [name: {login}]", status=404)
            if login == item.author.login:
                raise refused(doing, 422, "poster of pr can't be reviewer")
            official = self._official(kept, item.base, login)
            if official:
                # Asking again takes the official mark off an earlier verdict, as on the real one.
                item.reviews = [
                    replace(old, official=False) if old.author.login == login else old for old in item.reviews
                ]
            item.reviews.append(
                Review(
                    next(self.world.ids),
                    self.world.user(login),
                    ReviewState.REQUEST_REVIEW,
                    "",
                    "",
                    official,
                    False,
                    False,
                    self.world.second,
                )
            )
            self.world.event(item, "review_request", self.login)

    def merge(self, repo: RepoName, number: int, *, head: str, title: str, message: str, style: str = "merge") -> str:
        doing = f"merging {repo}#{number} at {head[:12]}"
        kept = self._ask(repo)
        item = self.world.item(kept, number, pull=True)
        pull = self.world.as_pull(kept, item)
        if item.merged:
            if pull.head_sha == head and item.merge_commit:
                return item.merge_commit
            raise refused(doing, 409, "merged at another head")
        if item.state is ItemState.CLOSED:
            raise refused(doing, 404, "closed")
        self._may_merge(kept, item, pull, doing)
        if head != pull.head_sha:
            raise refused(doing, 409, "head out of date")
        tree = self.world.git.merged_tree(pull.base_sha, head)
        assert tree is not None
        parents = (pull.base_sha,) if style == "squash" else (pull.base_sha, head)
        sha = self.world.git.commit(tree, parents, f"{title}\n\n{message}")
        item.merge_base, item.head_sha = pull.merge_base, head
        self.set_ref(repo, f"refs/heads/{item.base}", sha)
        item.merged, item.merge_commit, item.merged_by = True, sha, self.world.user(self.login)
        item.state, item.closed_at = ItemState.CLOSED, self.world.second
        self.world.event(item, "merge_pull", self.login)
        return sha

    def _may_merge(self, kept: FakeRepo, item: FakeItem, pull: Pull, doing: str) -> None:
        """The forge's checks, in its order."""
        rule = kept.rule(item.base)
        allowed = self.world.rank(kept, self.login) >= 2
        if rule is not None and rule.enable_merge_whitelist:
            allowed = self.login in rule.merge_whitelist_usernames
        if not allowed:
            raise refused(doing, 405, "User not allowed to merge PR")
        if pull.draft:
            raise refused(doing, 405, "Work in progress PRs cannot be merged")
        if pull.merge_base == pull.head_sha:
            raise refused(doing, 405, "nothing to merge")
        if not pull.mergeable:
            raise refused(doing, 405, "conflict")
        if rule is not None:
            reason = self._reason(kept, item, pull, rule)
            if reason:
                raise refused(doing, 405, f"not allowed to merge [reason: {reason}]")
        if self.world.open_blockers(item):
            raise refused(doing, 500, "open dependency")

    def _reason(self, kept: FakeRepo, item: FakeItem, pull: Pull, rule: BranchProtection) -> str:
        if rule.enable_status_check:
            states = {s.context: s.state for s in self._newest(kept, pull.head_sha)}
            wanted = rule.status_check_contexts or tuple(states)
            green = [
                any(matches(want, context) for context in states)
                and all(states[context] is CheckState.SUCCESS for context in states if matches(want, context))
                for want in wanted
            ]
            if not states or not all(green):
                return "Not all required status checks successful"
        counted = [
            r for r in item.reviews
            if r.state is ReviewState.APPROVED and r.official and not r.dismissed
            and not (rule.ignore_stale_approvals and r.stale)
        ]  # fmt: skip
        if len(counted) < rule.required_approvals:
            return "Does not have enough approvals"
        live = [r for r in item.reviews if r.official and not r.dismissed]
        if rule.block_on_rejected_reviews and any(r.state is ReviewState.REQUEST_CHANGES for r in live):
            return "There are requested changes"
        if rule.block_on_official_review_requests and any(r.state is ReviewState.REQUEST_REVIEW for r in live):
            return "There are official review requests"
        if rule.block_on_outdated_branch and pull.merge_base != pull.base_sha:
            return "The head branch is behind the base branch"
        return ""

    def _newest(self, kept: FakeRepo, sha: str) -> list[Status]:
        return list({status.context: status for status in kept.statuses.get(sha, ())}.values())

    def statuses(self, repo: RepoName, sha: str) -> list[Status]:
        kept = self._ask(repo)
        return sorted(self._newest(kept, kept.branch(sha) or sha), key=lambda status: status.context)

    def post_status(
        self, repo: RepoName, sha: str, *, context: str, state: CheckState, description: str, target_url: str = ""
    ) -> Status:
        doing = f"posting the status {context} on {repo}@{sha[:12]}"
        kept = self._ask(repo, "write", doing)
        if sha not in self.world.git.commits:
            raise NotFound(f"{doing}: the forge answered 404", status=404)
        status = Status(context, state, self.world.user(self.login), description, target_url, self.world.second)
        kept.statuses.setdefault(sha, []).append(status)
        return status
