"""Accounts, tokens, repos, collaborators, protections and webhooks: what set-up and the sentinel need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from factory.forge import decode
from factory.forge.calls import Calls, at, segment
from factory.forge.values import MERGE_STYLES, BranchProtection, Hook, Repo, RepoName, User

PERMISSIONS = ("none", "read", "write", "admin", "owner")
"""Weakest first."""
ONLY_MERGE = frozenset({"allow_merge_commits"})


def protection_body(rule: BranchProtection) -> dict[str, object]:
    """As Forgejo reads it; the approvals list alone is spelt in the singular."""
    body: dict[str, object] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(rule).items()
    }
    body["approvals_whitelist_username"] = body.pop("approvals_whitelist_usernames")
    return body


class SettingsCalls(Calls):
    """Needs a site admin or a repo admin, call by call."""

    # accounts and tokens
    def user(self, login: str) -> User | None:
        """The account of that name, or None."""
        doing = f"looking for the account {login}"
        reply = self.ask("GET", f"/users/{segment(login)}", doing=doing)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return decode.user(reply.json())

    def create_user(self, login: str, *, email: str, password: str) -> User:
        """A usable account: without ``must_change_password: false`` every later call of it would be 403."""
        body = {"username": login, "email": email, "password": password, "must_change_password": False}
        doing = f"creating the account {login}"
        return self.settled(
            doing,
            lambda: decode.user(self.send("POST", "/admin/users", doing=doing, body=body)),
            lambda: self.user(login),
        )

    def set_password(self, login: str, password: str) -> None:
        body = {"login_name": login, "source_id": 0, "password": password, "must_change_password": False}
        self.send("PATCH", f"/admin/users/{segment(login)}", doing=f"setting a password for {login}", body=body)

    def create_token(
        self, login: str, *, name: str, scopes: Iterable[str], repos: Sequence[RepoName] = (), as_admin: bool = True
    ) -> str:
        """Mint a token and return it (the forge shows it once).

        ``as_admin`` uses ``/admin/users/{u}/tokens`` (Forgejo 16, the embedded forge); otherwise ``/users/{u}/tokens``,
        which needs a client with Basic authentication. Raises NotFound where the admin route does not exist.
        """
        body: dict[str, object] = {"name": name, "scopes": sorted(scopes)}
        if repos:
            body["repositories"] = [{"owner": repo.owner, "name": repo.name} for repo in repos]
        path = f"/{'admin/' if as_admin else ''}users/{segment(login)}/tokens"
        doing = f"minting a token for {login}"
        token = decode.text(decode.record(self.send("POST", path, doing=doing, body=body)), "sha1")
        if not token:
            raise self.missing(doing, "the answer holds no token")
        return token

    # repos
    def find_repo(self, repo: RepoName) -> Repo | None:
        """The repo, or None where there is none (or none this token may see)."""
        doing = f"looking for {repo}"
        reply = self.ask("GET", at(repo), doing=doing)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return decode.repo(decode.record(reply.json()))

    def create_repo(
        self,
        repo: RepoName,
        *,
        private: bool = True,
        auto_init: bool = False,
        default_branch: str = "main",
        description: str = "",
    ) -> Repo:
        """For any owner, as site admin; falls back to the organisation's and the own route where that is refused."""
        body = {
            "name": repo.name,
            "private": private,
            "auto_init": auto_init,
            "default_branch": default_branch,
            "description": description,
        }
        doing = f"creating {repo}"

        def write() -> Repo:
            owner = segment(repo.owner)
            for path in (f"/admin/users/{owner}/repos", f"/orgs/{owner}/repos", "/user/repos"):
                reply = self.ask("POST", path, doing=doing, body=body)
                if reply.status == 201:
                    made = decode.repo(decode.record(reply.json()))
                    if made.name.owner.lower() != repo.owner.lower():
                        raise self.missing(doing, f"it was created as {made.name}")
                    return made
                if reply.status not in (403, 404, 422):
                    break
            raise self.refusal(reply, doing)

        return self.settled(doing, write, lambda: self.find_repo(repo))

    def edit_repo(self, repo: RepoName, **options: bool | str) -> Repo:
        """Set options of Forgejo's ``EditRepoOption`` and verify that they took."""
        doing = f"setting {', '.join(options)} of {repo}"
        data = decode.record(self.send("PATCH", at(repo), doing=doing, body=options))
        lost = [key for key, value in options.items() if data.get(key) != value]
        if lost:
            raise self.missing(doing, f"the forge kept {', '.join(lost)} as it was")
        return decode.repo(data)

    def only_merge(self, repo: RepoName) -> Repo:
        """Allow ``merge`` and no other way of merging. Merging by hand is switched off, too, but a forge does not show
        whether it is."""
        styles = {style: style in ONLY_MERGE for style in MERGE_STYLES}
        body = {**styles, "allow_manual_merge": False, "autodetect_manual_merge": False, "default_merge_style": "merge"}
        doing = f"allowing only merge commits in {repo}"
        made = decode.repo(decode.record(self.send("PATCH", at(repo), doing=doing, body=body)))
        if made.styles != ONLY_MERGE:
            raise self.missing(doing, f"the forge allows {', '.join(sorted(made.styles)) or 'none'}")
        return made

    # people
    def collaborators(self, repo: RepoName) -> list[User]:
        rows = self.pages(at(repo, "collaborators"), doing=f"listing the collaborators of {repo}")
        return [decode.user(row) for row in rows]

    def writers(self, repo: RepoName) -> list[User]:
        """Active accounts that may write there; of an organisation also teams that only read pull requests. Any token
        that reads the repo may ask, but an owner stays listed on Forgejo when switched off."""
        rows = self.get(at(repo, "assignees"), doing=f"listing who may write in {repo}")
        return [decode.user(row) for row in decode.records(rows)]

    def permission(self, repo: RepoName, login: str) -> str:
        """``none``, ``read``, ``write``, ``admin`` or ``owner``."""
        data = self.get(at(repo, "collaborators", login, "permission"), doing=f"reading what {login} may do in {repo}")
        return decode.text(decode.record(data), "permission") or "none"

    def set_collaborator(self, repo: RepoName, login: str, permission: str, *, at_least: bool = False) -> None:
        """``read``, ``write`` or ``admin``, verified by asking; any other word would silently mean write.

        ``at_least`` accepts an account that can do more anyway (a site admin, an organisation's owner).
        """
        if permission not in PERMISSIONS[1:4]:
            raise ValueError(f"{permission!r} is not a permission")
        doing = f"giving {login} {permission} on {repo}"
        self.send("PUT", at(repo, "collaborators", login), doing=doing, body={"permission": permission})
        got = self.permission(repo, login)
        more = at_least and got in PERMISSIONS[PERMISSIONS.index(permission) :]
        if got != permission and not more:
            raise self.missing(doing, f"the forge says {login} has {got}")

    def remove_collaborator(self, repo: RepoName, login: str) -> None:
        reply = self.ask("DELETE", at(repo, "collaborators", login), doing=f"removing {login} from {repo}", body={})
        if reply.status not in (204, 404):
            raise self.refusal(reply, f"removing {login} from {repo}")

    # branch protections
    def rules(self, repo: RepoName) -> list[Mapping[str, Any]]:
        """The branch rules as the forge tells them, with teams, deploy keys and the time of their last change."""
        rows = self.get(at(repo, "branch_protections"), doing=f"reading the branch protections of {repo}")
        return decode.records(rows)

    def protections(self, repo: RepoName) -> list[BranchProtection]:
        """In the forge's order, which decides between glob rules that match the same branch."""
        return [decode.protection(row) for row in self.rules(repo)]

    def set_protection(self, repo: RepoName, rule: BranchProtection) -> BranchProtection:
        """Create or change the rule, then read it back and compare.

        Raises ForgeRefused naming what differs: the forge silently drops listed users who lack the right already.
        """
        doing = f"protecting {rule.rule_name} of {repo}"
        path = at(repo, "branch_protections")
        one = at(repo, "branch_protections", rule.rule_name)
        reply = self.ask("PATCH", one, doing=doing, body=protection_body(rule))
        if reply.status == 404:
            self.send("POST", path, doing=doing, body=protection_body(rule))
        elif reply.status != 200:
            raise self.refusal(reply, doing)
        got = decode.protection(decode.record(self.get(one, doing=doing)))
        wrong = differences(rule, got)
        if wrong:
            raise self.missing(
                doing,
                "; ".join(wrong),
                hint="users who lack the right are dropped from a rule: check the collaborators, then run it again",
            )
        return got

    def delete_protection(self, repo: RepoName, rule_name: str) -> None:
        doing = f"removing the rule {rule_name} of {repo}"
        reply = self.ask("DELETE", at(repo, "branch_protections", rule_name), doing=doing, body={})
        if reply.status not in (204, 404):
            raise self.refusal(reply, doing)

    # webhooks
    def hooks(self, repo: RepoName) -> list[Hook]:
        return [decode.hook(row) for row in self.pages(at(repo, "hooks"), doing=f"listing the webhooks of {repo}")]

    def create_hook(self, repo: RepoName, *, url: str, secret: str, events: Iterable[str]) -> Hook:
        """One active JSON webhook (the forge's own default is inactive)."""
        body = {
            "type": "forgejo",
            "active": True,
            "events": sorted(events),
            "config": {"url": url, "content_type": "json", "secret": secret},
        }
        doing = f"adding a webhook to {repo}"
        made = decode.hook(decode.record(self.send("POST", at(repo, "hooks"), doing=doing, body=body)))
        if not made.active:
            raise self.missing(doing, "it is not active")
        return made

    def delete_hook(self, repo: RepoName, hook_id: int) -> None:
        doing = f"removing webhook {hook_id} of {repo}"
        reply = self.ask("DELETE", at(repo, "hooks", hook_id), doing=doing, body={})
        if reply.status not in (204, 404):
            raise self.refusal(reply, doing)


def differences(wanted: BranchProtection, got: BranchProtection) -> list[str]:
    """What the forge says otherwise, one line per field; lists are compared as sets."""
    found = []
    for key, want in asdict(wanted).items():
        have = getattr(got, key)
        if isinstance(want, tuple):
            lost, extra = sorted(set(want) - set(have)), sorted(set(have) - set(want))
            if lost or extra:
                found.append(f"{key}: missing {', '.join(lost) or 'none'}, not asked for {', '.join(extra) or 'none'}")
        elif want != have:
            found.append(f"{key}: {have!r} instead of {want!r}")
    return found
