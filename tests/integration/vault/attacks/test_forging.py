"""Attacks with forged facts of a pull request: who wrote it, who merged it, how, from where, under which label."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest

from factory.errors import ForgeRefused
from factory.forge.values import RepoName
from factory.vault.canonical import Refused
from factory.vault.verify import Case, decide
from tests.contract.conftest import soon
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import FACTORY, FOUNDER, OUTSIDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import ROOT, Seen, attack
from tests.integration.vault.attacks.sample import sample_case


@attack(38, "A commit that names the admin as its author, with a Reviewed-by line", forge="blocks", vault="no-approval",
        off="cannot: nothing reads an author, a date or a message for a permission",
        check="identity is the forge's account id of a review")  # fmt: skip
def test_attack_38_a_commit_in_the_admins_name(keep: Keep) -> Seen:
    email = keep.site.call("GET", "/user", who=FOUNDER).json()["email"]
    admin = {"name": "The Admin", "email": email}

    def act(*, approve: bool = False) -> str:
        action = keep.action("gamma")
        words = "Approve\n\nReviewed-by: The Admin\nApproved-by: The Admin\n"
        head = keep.write(VAULT, f"vault/{action.id}", {action.path: action.write()}, base="main", author=admin,
                          committer=admin, message=words)  # fmt: skip
        asked = keep.propose(action.id, f"vault/{action.id}", head)
        if approve:
            keep.review(asked)
        keep.merged(asked)
        return action.id

    forge, code = refused(keep, act)
    assert refused(keep, lambda: act(approve=True))[1] == "approver-barred", "it only takes a right away"
    return Seen(forge, code, "cannot: nothing reads an author, a date or a message for a permission")


@attack(39, "Marked as merged by hand, with somebody else's merge", forge="allows", vault="nothing is done",
        off="cannot: nothing reads that a pull request was merged, by whom or when",
        check="what counts is a commit on the branch that adds the file")  # fmt: skip
def test_attack_39_marked_as_merged(own: Keep) -> Seen:
    path = f"/repos/{own.ops}"
    own.site.admin.send("PATCH", path, doing="test", body={"allow_manual_merge": True})
    asked = own.ask(own.action("gamma"))
    path = f"/repos/{own.ops}/pulls/{asked.number}/merge"
    body = {"Do": "manually-merged", "MergeCommitID": own.tip("main")}
    own.site.client(VAULT).send("POST", path, doing="marking as merged", body=body)
    assert own.site.client(FOUNDER).pull(own.ops, asked.number).merged
    assert effects(own, asked.id) == 0
    assert own.dispatch().ledger.state(asked.id).kind in ("NEW", "SEEN")
    return Seen("allows", "nothing is done", "cannot: nothing reads that a pull request was merged, by whom or when")


STYLES = {"squash": "not-a-merge", "rebase": "not-a-merge", "fast-forward-only": "not-a-merge",
          "rebase-merge": "no-pull-request"}  # fmt: skip


@attack(40, "Squash, rebase, fast-forward: other commits than those that were approved", forge="blocks",
        vault="not-a-merge | no-pull-request", off="cannot: the request is found by the second parent of its merge",
        check="what adds the file is the merge of a pull request's recorded head")  # fmt: skip
@pytest.mark.parametrize("style", STYLES)
def test_attack_40_other_styles_of_merging(own: Keep, style: str) -> Seen:
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        if style == "rebase-merge":  # else there is nothing to rebase
            own.edit({"README.md": asked.id.encode()})
        own.review(asked)
        path = f"/repos/{own.ops}/pulls/{asked.number}/merge"
        body = {"Do": style, "head_commit_id": asked.head}
        with pytest.raises(ForgeRefused) as no:
            own.site.client(VAULT).send("POST", path, doing="merging", body=body)
        own.said.append(no.value.message)
        own.site.admin.edit_repo(own.ops, allow_squash_merge=True, allow_rebase=True, allow_rebase_explicit=True,
                                  allow_fast_forward_only_merge=True)  # fmt: skip
        merged = soon(own.site, lambda: own.site.call("POST", path, body, who=VAULT), lambda told: told.is_success)
        assert merged.status_code == 200, merged.text
        own.site.admin.only_merge(own.ops)
        return asked.id

    forge, code = refused(own, act)
    assert code == STYLES[style]
    return Seen(forge, code, "cannot: the request is found by the second parent of its merge")


@attack(42, "A pull request from a fork", forge="allows", vault="foreign-head",
        check="the head is in the ops repo, the poster is the vault's account")  # fmt: skip
def test_attack_42_from_a_fork(own: Keep, off: Blind) -> Seen:
    own.site.admin.set_collaborator(own.ops, own.site.login(OUTSIDER), "read")
    forked = own.site.call("POST", f"/repos/{own.ops}/forks", {"name": own.ops.name}, who=OUTSIDER)
    assert forked.status_code == 202, forked.text
    fork = RepoName(own.site.login(OUTSIDER), own.ops.name)

    def act() -> str:
        action = own.action("gamma")
        body = {"branch": "main", "new_branch": action.id, "message": "m",
                "content": b64encode(action.write()).decode()}  # fmt: skip
        made = own.site.call("POST", f"/repos/{fork}/contents/{action.path}", body, who=OUTSIDER)
        assert made.status_code == 201, made.text
        head = str(made.json()["commit"]["sha"])
        asked = own.propose(action.id, f"{fork.owner}:{action.id}", head, who=OUTSIDER)
        own.review(asked)
        own.merged(asked)
        return action.id

    def ours(case: Case) -> Case:
        pulls = tuple(replace(p, head_repo=case.repo, flow=0, poster=case.vault_bot) for p in case.pulls)
        return replace(case, pulls=pulls)

    def blind() -> None:
        off.case(ours)
        off.settings()

    return raid(own, act, blind)


@attack(42, "A review pushed to refs/for/main, without a branch", forge="blocks",
        vault="foreign-head", off="cannot here: the embedded forge takes no such push",
        check="the head is in the ops repo, on a branch")  # fmt: skip
def test_attack_42_pushed_for_review(keep: Keep) -> Seen:
    def push() -> tuple[str, str, str]:
        action = keep.action("gamma")
        made = keep.commit({action.path: action.write()}, keep.tip("main"))
        return action.id, made, keep.push(FACTORY, f"{made}:refs/for/main/{action.id}")

    def act() -> str:
        id, head, said = push()
        assert not said, "a real forge takes it"
        (pull,) = [one for one in keep.site.client(FOUNDER).pulls(keep.ops) if one.head_sha == head]
        asked = Asked(id, pull.number, "", head, "main")
        keep.review(asked)
        keep.merged(asked)
        return id

    if keep.forge_home is None:
        assert refused(keep, act)[1] == "foreign-head"
    else:
        assert "AGit" in push()[2]
    case = sample_case()
    with pytest.raises(Refused) as no:
        decide(replace(case, pulls=tuple(replace(p, flow=1) for p in case.pulls)))
    return Seen("blocks", no.value.code, "cannot here: the embedded forge takes no such push")


@attack(43, "The labels approved and low, set by anybody", forge="blocks", vault="no-approval",
        off="cannot: no code of the vault reads labels", check="a label says nothing")  # fmt: skip
def test_attack_43_labels_say_nothing(keep: Keep) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        for name in ("approved", "low"):
            made = keep.site.call("POST", f"/repos/{keep.ops}/labels", {"name": name, "color": "#00ff00"}, who=FACTORY)
            assert made.status_code in (201, 422), made.text
        keep.site.client(FACTORY).add_labels(keep.ops, asked.number, ["approved", "low"])
        keep.merged(asked)
        return asked.id

    forge, code = refused(keep, act)
    for path in (ROOT / "factory" / "vault").glob("*.py"):
        assert "label" not in path.read_text(encoding="utf-8"), path
    return Seen(forge, code, "cannot: no code of the vault reads labels")
