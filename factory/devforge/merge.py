"""Merging a pull request: the checks in Forgejo's order and words (reference, section 3.2), then one ref change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from factory.devforge import guard, moves
from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.moves import Change, Merge
from factory.devforge.store import (
    access,
    dependencies,
    protections,
    pulls,
    repos,
    reviews,
    statuses,
    users,
)  # fmt: skip
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.protections import Rule
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.git import objects
from factory.git.values import ZERO, CommitInfo, Signature

STYLES = ("merge", "rebase", "rebase-merge", "squash", "fast-forward-only", "manually-merged")
_ALLOWED_BY = {
    "merge": "allow_merge_commits",
    "rebase": "allow_rebase",
    "rebase-merge": "allow_rebase_explicit",
    "squash": "allow_squash_merge",
    "fast-forward-only": "allow_fast_forward_only_merge",
    "manually-merged": "allow_manual_merge",
}
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Options:
    """Of one merge. ``head`` is the commit the caller saw: any other tip is refused."""

    style: str = "merge"
    title: str = ""
    message: str = ""
    head: str = ""
    delete_branch: bool = False
    force: bool = False
    commit: str = ""
    """Only for ``manually-merged``."""


@dataclass(frozen=True)
class Outcome:
    """``commit`` is the base branch's new tip."""

    commit: str


def signature(store: Store, user: User) -> Signature:
    return Signature(user.full_name or user.login, user.email, store.now())


def merge_pull(store: Store, actor: Actor, repo: Repo, number: int, options: Options) -> Outcome:
    """Merge, or raise the Refusal that Forgejo gives at the first check that fails. Synchronous and all or nothing."""
    if options.style not in STYLES:
        raise invalid("[Do]: In")
    with store.exclusive():
        repo = repos.by_id(store, repo.id)
        pull = pulls.get(store, repo, number)
        rule = protections.for_branch(store, repo, pull.base_branch)
        check(store, actor, repo, pull, rule, manual=options.style == "manually-merged", force=options.force)
        if not repo.settings[_ALLOWED_BY[options.style]]:
            raise Refusal(405, f"{options.style} is not an allowed merge style for this repository")
        base = pulls.base_tip(repo, pull)
        head = pulls.live_head(store, repo, pull)[1]
        if options.style == "manually-merged":
            return _manually(store, actor, repo, pull, options, base)
        made = _build(store, actor.who, repo, pull, options, base, head)
        if options.head and options.head != head:
            raise Refusal(409, "head out of date")
        touched = guard.touched_between(repo.path, base, made)
        refused = guard.merge_refusal(rule, pull.base_branch, admin=bypasses(store, actor, repo, rule), touched=touched)
        if refused:
            raise Refusal(409, f"PushRejected with remote message: {refused}")
        common = pulls.compare(repo, base, head).merge_base
        change = Change(pulls.branch_ref(pull.base_branch), base, made)
        if moves.apply(store, repo, actor.who, [change], merge=Merge(pull.issue.id, head, common)):
            raise Refusal(409, "merge push out of date")
        if options.delete_branch:
            _delete_head(store, actor, repo, pull)
        return Outcome(made)


# ---------------------------------------------------------------- checks


def check(
    store: Store, actor: Actor, repo: Repo, pull: Pull, rule: Rule | None, *, manual: bool = False, force: bool = False
) -> None:
    """Checks 1 to 8 of the reference's table, in its order."""
    if pull.merged:
        raise Refusal(405, "")
    if not pull.issue.open:
        raise not_found()
    access.need_unarchived(repo)
    if access.best(store, actor, repo) < Mode.READ:
        raise not_found()
    outside = actor.repos is not None and repo.id not in actor.repos  # a token limited to other repos
    if outside or not protections.may_merge(store, rule, repo, actor.who):
        raise Refusal(405, "User not allowed to merge PR")
    if manual:
        return
    if pull.draft:
        raise Refusal(405, "Work in progress PRs cannot be merged")
    head = pulls.live_head(store, repo, pull)[1]
    comparison = pulls.compare(repo, pulls.base_tip(repo, pull), head)
    if comparison.status != "mergeable" or store.checking(repo.id):
        raise Refusal(405, "Please try again later")
    if rule is not None and not (force and bypasses(store, actor, repo, rule)):
        reason = gate(store, repo, pull, rule)
        if reason is not None:
            raise Refusal(405, f"not allowed to merge [reason: {reason}]")
    if rule is not None and rule.require_signed_commits:
        raise Refusal(405, "won't sign: nokey")
    if dependencies.open_blockers(store, pull.issue.id):
        # Forgejo forgot to map this and answers 500, which reaches a bot without any text.
        raise Refusal(405 if store.strict else 500, "is blocked by an open dependency")


def bypasses(store: Store, actor: Actor, repo: Repo, rule: Rule | None) -> bool:
    """Who may skip the rule's gates with force_merge: site admins always, repo admins unless it applies to them."""
    if actor.site_admin:
        return True
    return access.mode(store, actor, repo) >= Mode.ADMIN and (rule is None or not rule.apply_to_admins)


def gate(store: Store, repo: Repo, pull: Pull, rule: Rule) -> str | None:
    """The first gate of the rule that is not passed, in Forgejo's words; None when all are."""
    found = reviews.of_pull(store, pull)
    head = pulls.live_head(store, repo, pull)[1]
    if rule.enable_status_check and statuses.gate(store, repo, head, rule.status_check_contexts) != "success":
        return "Not all required status checks successful"
    if reviews.approvals(found, rule.ignore_stale_approvals) < rule.required_approvals:
        return "Does not have enough approvals"
    if rule.block_on_rejected_reviews and reviews.rejected(found):
        return "There are requested changes"
    if rule.block_on_official_review_requests and reviews.requested(found):
        return "There are official review requests"
    base = pulls.base_tip(repo, pull)
    comparison = pulls.compare(repo, base, head)
    if rule.block_on_outdated_branch and comparison.behind > 0:
        return "The head branch is behind the base branch"
    if rule.protected_file_patterns:
        touched = guard.touched_between(repo.path, comparison.merge_base, head)
        if guard.protected_paths(rule, touched):
            return "Changed protected files"
    return None


# ---------------------------------------------------------------- building the commit


def _build(store: Store, doer: User, repo: Repo, pull: Pull, options: Options, base: str, head: str) -> str:
    me = signature(store, doer)
    if options.style == "fast-forward-only":
        if not objects.is_ancestor(repo.path, base, head):
            raise Refusal(500, f"Merge DivergingFastForwardOnly Error: {base} is not an ancestor of {head}")
        return head
    if options.style in ("rebase", "rebase-merge"):
        tip = _rebase(repo, me, base, head)
        if options.style == "rebase":
            return tip
        tree = objects.commit_info(repo.path, tip).tree
        return _commit(repo, tree, (base, tip), _text(store, repo, pull, options), me, me)
    result = objects.merge_commits(repo.path, base, head)
    if result.tree is None:
        raise Refusal(409, body=_conflict(options.style, result.conflicts))
    message = _text(store, repo, pull, options)
    if options.style == "squash":
        poster = users.by_id(store, pull.issue.poster_id)
        return _commit(repo, result.tree, (base,), message, signature(store, poster), me)
    return _commit(repo, result.tree, (base, head), message, me, me)


def _commit(
    repo: Repo, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
) -> str:
    return objects.commit_tree(
        repo.path, tree=tree, parents=parents, message=message, author=author, committer=committer
    )


def _rebase(repo: Repo, committer: Signature, base: str, head: str, *, failed: str = "") -> str:
    """The commits of the head that the base lacks, put on the base one by one; merges are left out as git does.
    A conflict is 409 with the words ``failed``, or with git's own."""
    if objects.is_ancestor(repo.path, base, head):
        return head
    tip = base
    pending: list[CommitInfo] = [c for c in objects.log(repo.path, head, exclude=[base]) if len(c.parents) < 2]
    for commit in reversed(pending):
        parent = commit.parents[0] if commit.parents else None
        picked = objects.merge_trees(repo.path, parent, tip, commit.oid)
        if picked.tree is None and failed:
            raise Refusal(409, failed)
        if picked.tree is None:
            raise Refusal(409, body={**_conflict("rebase", picked.conflicts), "CommitSHA": commit.oid})
        if picked.tree == objects.commit_info(repo.path, tip).tree:
            continue  # already there
        tip = _commit(repo, picked.tree, (tip,), commit.message, commit.author, committer)
    return tip


def _conflict(style: str, paths: Sequence[str]) -> dict[str, object]:
    out = "".join(f"CONFLICT (content): Merge conflict in {path}\n" for path in paths)
    return {
        "Style": style,
        "StdOut": out,
        "StdErr": "Automatic merge failed; fix conflicts and then commit.\n",
        "Err": {},
    }


def _text(store: Store, repo: Repo, pull: Pull, options: Options) -> str:
    title = options.title.strip()
    if not title:
        if options.style == "squash":
            title = f"{pull.issue.title} (#{pull.number})"
        else:
            head = pull.head_branch
            if pull.head_repo_id not in (None, repo.id):
                head = f"{repos.by_id(store, pull.head_repo_id or 0).owner}:{head}"
            title = f"Merge pull request '{pull.issue.title}' (#{pull.number}) from {head} into {pull.base_branch}"
    body = options.message.strip()
    return f"{title}\n\n{body}\n" if body else f"{title}\n"


def _manually(store: Store, actor: Actor, repo: Repo, pull: Pull, options: Options, base: str) -> Outcome:
    wanted = options.commit
    if not _SHA.fullmatch(wanted) or not objects.exists(repo.path, wanted):
        raise Refusal(409, body={})
    if not objects.is_ancestor(repo.path, wanted, base):
        raise Refusal(409, body={})
    head = pulls.live_head(store, repo, pull)[1]
    common = pulls.compare(repo, base, head).merge_base
    change = Change(pulls.branch_ref(pull.base_branch), base, base)
    moves.apply(store, repo, actor.who, [change], merge=Merge(pull.issue.id, head, common))
    store.update("pulls", pull.issue.id, key="issue_id", merge_commit=wanted)
    return Outcome(wanted)


def _delete_head(store: Store, actor: Actor, repo: Repo, pull: Pull) -> None:
    """After the merge. A refusal here comes although the merge happened: Forgejo's trap, kept."""
    if pull.head_repo_id is None:
        return
    head_repo = repos.by_id(store, pull.head_repo_id)
    others = [p for p in pulls.open_with_head(store, head_repo, pull.head_branch) if p.issue.id != pull.issue.id]
    tip = objects.read_ref(head_repo.path, pulls.branch_ref(pull.head_branch))
    if others or tip is None:
        return
    if pull.head_branch == head_repo.default_branch:
        raise forbidden("the head branch is the default branch")
    if protections.for_branch(store, head_repo, pull.head_branch) is not None:
        raise forbidden("the head branch is protected")
    if access.mode(store, actor, head_repo) < Mode.WRITE:
        raise forbidden("insufficient permission to delete head branch")
    for child in pulls.open_with_base(store, repo, pull.head_branch):
        pulls.retarget(store, repo, child, actor.who.id, pull.base_branch)
    change = Change(pulls.branch_ref(pull.head_branch), tip, ZERO)
    moves.apply(store, head_repo, actor.who, [change])


def update_pull(store: Store, actor: Actor, repo: Repo, number: int, style: str = "merge") -> str:
    """Bring the head branch up to its base; returns its new tip. 422 closed, 403 no right or a protected head, 409
    conflict, 500 when there is nothing to do (as Forgejo)."""
    with store.exclusive():
        pull = pulls.get(store, repo, number)
        if pull.merged or not pull.issue.open:
            raise invalid("%!s(<nil>)" if not store.strict else "pull request is closed")
        if pull.head_repo_id is None:
            raise forbidden()
        head_repo = repos.by_id(store, pull.head_repo_id)
        access.need_unarchived(head_repo)
        rule = protections.for_branch(store, head_repo, pull.head_branch)
        allowed = access.mode(store, actor, head_repo) >= Mode.WRITE
        if not allowed or (rule is not None and not protections.may_push(store, rule, head_repo, actor.who)):
            raise forbidden()
        if head_repo.id != repo.id:
            raise Refusal(422, "updating the branch of a fork is not supported by the embedded forge")
        base, head = pulls.base_tip(repo, pull), pull.head_sha
        comparison = pulls.compare(repo, base, head)
        if comparison.behind == 0:
            raise Refusal(500, f"HeadBranch of PR {number} is up to date")
        me = signature(store, actor.who)
        if style == "rebase":
            made = _rebase(repo, me, base, head, failed="rebase failed because of conflict")
        else:
            result = objects.merge_commits(repo.path, head, base)
            if result.tree is None:
                raise Refusal(409, "merge failed because of conflict")
            title = f"Merge branch '{pull.base_branch}' into {pull.head_branch}\n"
            made = _commit(repo, result.tree, (head, base), title, me, me)
        if moves.apply(store, repo, actor.who, [Change(pulls.branch_ref(pull.head_branch), head, made)]):
            raise Refusal(409, "merge push out of date")
        return made
