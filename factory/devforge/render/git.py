"""Commits, branches, files, statuses and protection rules as JSON."""

from __future__ import annotations

import base64
from typing import Any

from factory.devforge.render.people import Json, user, user_id, when
from factory.devforge.render.people import repo as render_repo
from factory.devforge.store import access, orgs, protections, statuses, users
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store, build
from factory.devforge.store.protections import Rule
from factory.devforge.store.repos import Repo
from factory.devforge.store.statuses import Status
from factory.devforge.store.users import User
from factory.git import objects
from factory.git.values import CommitInfo, NameChange, PathChange, Signature, TreeEntry

UNVERIFIED: Json = {"verified": False, "reason": "gpg.error.not_signed_commit", "signature": "", "signer": None,
                    "payload": ""}  # fmt: skip


def _person(who: Signature) -> Json:
    return {"name": who.name, "email": who.email, "date": when(who.when)}


def _account(store: Store, who: Signature) -> Json | None:
    row = store.one("SELECT * FROM users WHERE email = ? COLLATE NOCASE AND is_org = 0", who.email)
    return None if row is None else user(store, build(User, row))


def api(store: Store, repo: Repo, rest: str) -> str:
    return f"{store.root_url}/api/v1/repos/{repo.full_name}/{rest}"


def commit(store: Store, repo: Repo, info: CommitInfo, *, files: bool = True, stat: bool = True) -> Json:
    """A commit as the API shows it; ``files`` and ``stat`` add what it changed."""
    url = api(store, repo, f"git/commits/{info.oid}")
    changes = _changes(repo, info) if files or stat else []
    adds, dels = sum(c.additions for c in changes), sum(c.deletions for c in changes)
    return {
        "url": url,
        "sha": info.oid,
        "created": when(info.committer.when),
        "html_url": f"{store.root_url}/{repo.full_name}/commit/{info.oid}",
        "commit": {
            "url": url,
            "author": _person(info.author),
            "committer": _person(info.committer),
            "message": info.message,
            # Forgejo gives the commit's own id here; a client that believed it would be broken there too.
            "tree": {
                "url": api(store, repo, f"git/trees/{info.oid}"),
                "sha": info.oid,
                "created": when(info.committer.when),
            },
            "verification": UNVERIFIED,
        },
        "author": _account(store, info.author),
        "committer": _account(store, info.committer),
        "parents": [
            {"url": api(store, repo, f"git/commits/{oid}"), "sha": oid, "created": "0001-01-01T00:00:00Z"}
            for oid in info.parents
        ],
        "files": [{"filename": c.path, "status": file_status(c)} for c in changes] if files else None,
        "stats": {"total": adds + dels, "additions": adds, "deletions": dels} if stat else None,
    }


def _changes(repo: Repo, info: CommitInfo) -> list[PathChange]:
    return objects.diff_paths(repo.path, _before(info), info.oid)


def _before(info: CommitInfo) -> str:
    return info.parents[0] if info.parents else objects.EMPTY_TREE


def file_status(change: NameChange) -> str:
    """Forgejo's word: what git calls modified is ``changed``."""
    return {"modified": "changed", "typechange": "changed"}.get(change.status, change.status)


def changed_file(store: Store, repo: Repo, change: PathChange, sha: str) -> Json:
    return {
        "filename": change.path,
        **({"previous_filename": change.old_path} if change.old_path else {}),
        "status": file_status(change),
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "html_url": f"{store.root_url}/{repo.full_name}/src/commit/{sha}/{change.path}",
        "contents_url": api(store, repo, f"contents/{change.path}?ref={sha}"),
        "raw_url": f"{store.root_url}/{repo.full_name}/raw/commit/{sha}/{change.path}",
    }


def payload_commit(store: Store, repo: Repo, info: CommitInfo) -> Json:
    """A commit as branches and webhooks carry it."""

    def who(signature: Signature) -> Json:
        account = _account(store, signature)
        login = "" if account is None else account["login"]
        return {"name": signature.name, "email": signature.email, "username": login}

    changes = objects.diff_names(repo.path, _before(info), info.oid)
    return {
        "id": info.oid,
        "message": info.message,
        "url": f"{store.root_url}/{repo.full_name}/commit/{info.oid}",
        "author": who(info.author),
        "committer": who(info.committer),
        "verification": None,
        "timestamp": when(info.committer.when),
        "added": [c.path for c in changes if c.status == "added"],
        "removed": [c.path for c in changes if c.status == "deleted"],
        "modified": [c.path for c in changes if c.status not in ("added", "deleted")],
    }


def branch(store: Store, repo: Repo, name: str, sha: str, viewer: Actor) -> Json:
    """A branch at ``sha``, with what its rule allows the viewer."""
    rule = protections.for_branch(store, repo, name)
    writes = access.mode(store, viewer, repo) >= Mode.WRITE
    who = viewer.user
    return {
        "name": name,
        "commit": payload_commit(store, repo, objects.commit_info(repo.path, sha)),
        "protected": rule is not None,
        "required_approvals": 0 if rule is None else rule.required_approvals,
        "enable_status_check": rule is not None and rule.enable_status_check,
        "status_check_contexts": [] if rule is None else list(rule.status_check_contexts),
        "user_can_push": writes and who is not None and (rule is None or protections.may_push(store, rule, repo, who)),
        "user_can_merge": who is not None and protections.may_merge(store, rule, repo, who),
        "effective_branch_protection_name": "" if rule is None else rule.rule_name,
    }


def status(store: Store, repo: Repo, found: Status) -> Json:
    return {
        "id": found.number,
        "status": found.state,
        "context": found.context,
        "description": found.description,
        "target_url": found.target_url,
        "url": api(store, repo, f"statuses/{found.sha}"),
        "creator": user_id(store, found.creator_id),
        "created_at": when(found.created),
        "updated_at": when(found.created),
    }


def combined(store: Store, repo: Repo, sha: str, found: list[Status], viewer: Actor) -> Json:
    """With no statuses at all everything is empty, the sha too: as Forgejo answers."""
    if not found:
        return {
            "state": "",
            "sha": "",
            "total_count": 0,
            "statuses": None,
            "repository": None,
            "commit_url": "",
            "url": "",
        }
    state = statuses.worst(one.state for one in found)
    return {
        "state": "failure" if state == "error" else state,
        "sha": sha,
        "total_count": len(found),
        "statuses": [status(store, repo, one) for one in found],
        "repository": render_repo(store, repo, viewer),
        "commit_url": api(store, repo, f"commits/{sha}"),
        "url": api(store, repo, f"commits/{sha}/status"),
    }


def rule(store: Store, found: Rule) -> Json:
    """A branch rule, its accounts and teams by name."""

    def logins(ids: tuple[int, ...]) -> list[str]:
        return [users.by_id(store, one).login for one in ids if store.one("SELECT 1 FROM users WHERE id = ?", one)]

    def teams(ids: tuple[int, ...]) -> list[str]:
        return [orgs.team(store, one).name for one in ids if store.one("SELECT 1 FROM teams WHERE id = ?", one)]

    plain = (
        "enable_push", "enable_push_whitelist", "push_whitelist_deploy_keys", "enable_merge_whitelist",
        "enable_status_check", "required_approvals", "enable_approvals_whitelist", "block_on_rejected_reviews",
        "block_on_official_review_requests", "block_on_outdated_branch", "dismiss_stale_approvals",
        "ignore_stale_approvals", "require_signed_commits", "protected_file_patterns", "unprotected_file_patterns",
        "apply_to_admins",
    )  # fmt: skip
    return {
        "branch_name": found.rule_name,
        "rule_name": found.rule_name,
        **{name: getattr(found, name) for name in plain},
        "push_whitelist_usernames": logins(found.push_users),
        "push_whitelist_teams": teams(found.push_teams),
        "merge_whitelist_usernames": logins(found.merge_users),
        "merge_whitelist_teams": teams(found.merge_teams),
        "approvals_whitelist_username": logins(found.approval_users),
        "approvals_whitelist_teams": teams(found.approval_teams),
        "status_check_contexts": list(found.status_check_contexts),
        "created_at": when(found.created),
        "updated_at": when(found.updated),
    }


def contents(store: Store, repo: Repo, entry: TreeEntry, ref: str, *, data: bytes | None, last_commit: str) -> Json:
    """A file with its content (``data``), or an entry of a folder listing without."""
    kind = {"tree": "dir", "commit": "submodule"}.get(entry.kind, "symlink" if entry.mode == 0o120000 else "file")
    url = api(store, repo, f"contents/{entry.path}?ref={ref}")
    git_url = api(store, repo, f"git/{'trees' if kind == 'dir' else 'blobs'}/{entry.oid}")
    html = f"{store.root_url}/{repo.full_name}/src/branch/{ref}/{entry.path}"
    found: dict[str, Any] = {
        "name": entry.path.rpartition("/")[2],
        "path": entry.path,
        "sha": entry.oid,
        "last_commit_sha": last_commit,
        "type": kind,
        "size": entry.size,
        "encoding": None,
        "content": None,
        "target": None,
        "url": url,
        "html_url": html,
        "git_url": git_url,
        "download_url": f"{store.root_url}/{repo.full_name}/raw/branch/{ref}/{entry.path}" if kind == "file" else None,
        "submodule_git_url": None,
        "_links": {"self": url, "git": git_url, "html": html},
    }
    if data is not None and kind == "symlink":
        found["target"] = data.decode("utf-8", "replace")
    if data is not None:
        found["encoding"] = "base64"
        found["content"] = base64.b64encode(data).decode()
    return found
