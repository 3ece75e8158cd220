"""Reading, judging and merging pull requests with forms, checked through the API and git."""

from __future__ import annotations

import base64
from typing import Any

import pytest

World = Any


def get(world: World, repo: str, number: int) -> Any:
    return world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")


def approve(world: World, repo: str, number: int, who: str = "rita") -> None:
    world.ok(who, "POST", f"/repos/{repo}/pulls/{number}/reviews", {"event": "APPROVED"})


def status(world: World, repo: str, sha: str, state: str, **more: str) -> None:
    body = {"state": state, "context": "factory/ci", "description": "12 tests", "target_url": "http://127.0.0.1:9/log"}
    world.ok("bob", "POST", f"/repos/{repo}/statuses/{sha}", body | more)


def push(world: World, repo: str, text: str) -> str:
    """Another commit on the pull request's branch."""
    sha = world.ok("bob", "GET", f"/repos/{repo}/contents/a.py", ref="fix/issue-1")["sha"]
    body = {"content": base64.b64encode(text.encode()).decode(), "sha": sha, "branch": "fix/issue-1"}
    return str(world.ok("bob", "PUT", f"/repos/{repo}/contents/a.py", body)["commit"]["sha"])


def test_the_whole_way(world: World, visitor: Any, stage: Any, read: Any) -> None:
    """Refused, with the reason; approved; merged; the issue it fixes is closed."""
    repo, number = stage(world)
    page = f"/{repo}/pulls/{number}"
    rita = visitor("rita")
    text = read(rita.see(page))
    assert "bob wants to merge fix/issue-1 into main" in text
    assert "Cannot be merged now: Somebody whose approval counts for this branch must approve it as it is now." in text
    assert "In the forge's words: not allowed to merge [reason: Does not have enough approvals]" in text
    assert "0 of 1 required" in text
    refused = rita.send(page, f"{page}/merge", expect=405, style="merge")
    assert "not allowed to merge [reason: Does not have enough approvals]" in read(refused.text)
    assert "Somebody whose approval counts for this branch must approve it as it is now." in read(refused.text)
    approved = rita.send(page, f"{page}/review", event="APPROVED", body="Good.")
    assert "Ready to be merged." in read(approved.text)
    assert "rita approved this" in read(approved.text)
    merged = rita.send(page, f"{page}/merge", style="merge", delete="yes")
    assert "rita merged this as" in read(merged.text)
    found = get(world, repo, number)
    assert (found["merged"], found["merged_by"]["login"]) == (True, "rita")
    assert world.ok("ann", "GET", f"/repos/{repo}/issues/1")["state"] == "closed"
    assert [b["name"] for b in world.ok("ann", "GET", f"/repos/{repo}/branches")] == ["main"]
    content = world.ok("ann", "GET", f"/repos/{repo}/contents/a.py")["content"]
    assert base64.b64decode(content) == b"two\n"
    again = rita.see(page)
    assert f'action="{page}/merge"' not in again
    assert "+1 −1" in read(rita.see(f"{page}/files"))


@pytest.mark.parametrize("style", ["squash", "rebase"])
def test_other_ways_of_merging(world: World, visitor: Any, stage: Any, style: str) -> None:
    repo, number = stage(world, approvals=0)
    page = f"/{repo}/pulls/{number}"
    visitor("rita").send(page, f"{page}/merge", style=style)
    tip = world.ok("ann", "GET", f"/repos/{repo}/commits", limit=1)[0]
    assert len(tip["parents"]) == 1
    assert get(world, repo, number)["merged"]


def test_a_style_that_does_not_exist(world: World, visitor: Any, stage: Any) -> None:
    repo, number = stage(world, approvals=0)
    page = f"/{repo}/pulls/{number}"
    visitor("rita").send(page, f"{page}/merge", style="manually-merged", expect=405)
    visitor("rita").send(page, f"{page}/merge", style="sideways", expect=422)
    assert not get(world, repo, number)["merged"]


def test_what_was_not_looked_at_is_not_merged_or_approved(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world, approvals=0)
    page = f"/{repo}/pulls/{number}"
    rita = visitor("rita")
    seen = get(world, repo, number)["head"]["sha"]
    push(world, repo, "three\n")
    done = rita.send(page, f"{page}/merge", style="merge", head=seen, expect=409)
    assert "head out of date" in read(done.text)
    assert "Somebody pushed to it since you opened the page." in read(done.text)
    done = rita.send(page, f"{page}/review", event="APPROVED", head=seen, expect=409)
    assert "head out of date" in read(done.text)
    assert world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}/reviews") == []
    assert not get(world, repo, number)["merged"]
    token = rita.see(page).split('name="_token" value="')[1].split('"')[0]
    assert rita.post(f"{page}/merge", {"_token": token, "style": "merge"}).status_code == 422


def test_requested_changes_block_and_say_so(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world, approvals=0)
    page = f"/{repo}/pulls/{number}"
    rita = visitor("rita")
    assert "requires a body" in rita.send(page, f"{page}/review", event="REQUEST_CHANGES", expect=422).text
    rita.send(page, f"{page}/review", event="REQUEST_CHANGES", body="No test.")
    done = rita.send(page, f"{page}/merge", style="merge", expect=405)
    assert "not allowed to merge [reason: There are requested changes]" in read(done.text)
    assert "rita asked for changes" in read(done.text)
    assert rita.send(page, f"{page}/review", event="PENDING", body="x", expect=422).status_code == 422


def test_nobody_judges_their_own(world: World, visitor: Any, stage: Any) -> None:
    repo, number = stage(world)
    page = f"/{repo}/pulls/{number}"
    bob = visitor("bob")
    assert 'value="APPROVED"' not in bob.see(page)
    done = bob.send(page, f"{page}/review", event="APPROVED", expect=422)
    assert "approve your own pull is not allowed" in done.text


def test_a_reader_may_say_something_that_does_not_count(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world)
    page = f"/{repo}/pulls/{number}"
    eve = visitor("eve")
    assert "your approval is welcome" in read(eve.see(page)).lower()
    assert f'action="{page}/merge"' not in eve.see(page)
    done = eve.send(page, f"{page}/review", event="APPROVED")
    assert "does not count" in read(done.text)
    assert "0 of 1 required" in read(done.text)
    token = done.text.split('name="_token" value="')[1].split('"')[0]
    fields = {"_token": token, "style": "merge", "head": get(world, repo, number)["head"]["sha"]}
    assert "User not allowed to merge PR" in eve.post(f"{page}/merge", fields).text
    assert not get(world, repo, number)["merged"]


def test_checks_with_links_required_ones_and_missing_ones(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world, approvals=0, contexts=("factory/ci", "lint*"))
    page = f"/{repo}/pulls/{number}"
    rita = visitor("rita")
    text = read(rita.see(page))
    assert "factory/ci required not reported yet" in text
    assert "lint* required not reported yet" in text
    sha = get(world, repo, number)["head"]["sha"]
    status(world, repo, sha, "success")
    status(world, repo, sha, "failure", context="lint-py", target_url="javascript:alert(1)")
    html = rita.see(page)
    assert '<a href="http://127.0.0.1:9/log" rel="noopener noreferrer">log</a>' in html
    assert "javascript:" not in html
    assert "Not all required status checks successful" in read(html)
    status(world, repo, sha, "success", context="lint-py")
    assert "Ready to be merged." in read(rita.see(page))
    assert "factory/ci" in rita.see(f"/{repo}/commit/{sha}")


def test_conflicts_are_named(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world, approvals=0)
    world.ok("ann", "DELETE", f"/repos/{repo}/branch_protections/mai%5Bn%5D")
    sha = world.ok("ann", "GET", f"/repos/{repo}/contents/a.py")["sha"]
    body = {"content": base64.b64encode(b"four\n").decode(), "sha": sha}
    world.ok("ann", "PUT", f"/repos/{repo}/contents/a.py", body)
    page = f"/{repo}/pulls/{number}"
    done = visitor("ann").send(page, f"{page}/merge", style="merge", expect=405)
    text = read(done.text)
    assert "Conflicts in a.py" in text
    assert "Please try again later" in text
    assert "It conflicts with the target branch" in text


def test_updating_the_branch(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world, approvals=0)
    world.ok("ann", "DELETE", f"/repos/{repo}/branch_protections/mai%5Bn%5D")
    body = {"content": base64.b64encode(b"new\n").decode(), "message": "Add b"}
    world.ok("ann", "POST", f"/repos/{repo}/contents/b.py", body)
    page = f"/{repo}/pulls/{number}"
    rita = visitor("rita")
    assert "1 commit of main is not in this branch" in read(rita.see(page))
    done = rita.send(page, f"{page}/update")
    assert "rita pushed" in read(done.text)
    assert "not in this branch" not in read(done.text)


def test_the_diff_with_comments_on_lines(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world)
    notes = [
        {"path": "a.py", "body": "Why **two**?", "new_position": 1},
        {"path": "a.py", "body": "One was fine.", "old_position": 1},
    ]
    body = {"event": "COMMENT", "body": "Some thoughts", "comments": notes}
    world.ok("rita", "POST", f"/repos/{repo}/pulls/{number}/reviews", body)
    html = visitor("eve").see(f"/{repo}/pulls/{number}/files")
    text = read(html)
    assert "modified a.py" in text
    assert text.index("− one") < text.index("One was fine.") < text.index("+ two") < text.index("Why two ?")
    assert '<tr class="del">' in html
    assert '<tr class="add">' in html
    talk = read(visitor("eve").see(f"/{repo}/pulls/{number}"))
    assert "a.py:1" in talk
    assert "Some thoughts" in talk
    assert "Say two" in read(visitor("eve").see(f"/{repo}/pulls/{number}/commits"))
    assert visitor("eve").see(f"/{repo}/pulls/{number}.diff").startswith("diff --git a/a.py b/a.py")


def test_what_waits_for_me_is_on_the_front_page(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world)
    rita = visitor("rita")
    before = read(rita.see("/"))
    assert f"{repo}#{number}" not in before
    world.ok("ann", "POST", f"/repos/{repo}/pulls/{number}/requested_reviewers", {"reviewers": ["rita"]})
    assert f"Say two {repo}#{number} · your review was asked for" in read(rita.see("/"))
    change = {"enable_approvals_whitelist": True, "approvals_whitelist_username": ["ann"]}
    world.ok("ann", "PATCH", f"/repos/{repo}/branch_protections/mai%5Bn%5D", change)
    ann = visitor("ann")
    assert f"{repo}#{number} · it needs an approval that you can give" in read(ann.see("/"))
    approve(world, repo, number, "ann")
    assert f"{repo}#{number}" not in read(ann.see("/"))


def test_opening_one(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world)
    sha = world.ok("bob", "GET", f"/repos/{repo}/contents/docs/guide.md")["sha"]
    body = {"content": base64.b64encode(b"More\n").decode(), "sha": sha, "message": "Say more\n\nMuch more."}
    world.ok("bob", "PUT", f"/repos/{repo}/contents/docs/guide.md", body | {"new_branch": "more"})
    bob = visitor("bob")
    assert "New pull request" in read(bob.see(f"/{repo}/branches"))
    page = f"/{repo}/compare?base=main&head=more"
    html = bob.see(page)
    assert 'name="title" value="Say more"' in html
    assert "Much more.</textarea>" in html
    assert "+ More" in read(html)
    done = bob.send(page, f"/{repo}/compare", title="Say more", body="Why not")
    assert done.url.path == f"/{repo}/pulls/{number + 1}"
    assert "There is an open pull request for these branches" in read(bob.see(page))
    text = read(bob.see(f"/{repo}/compare/main...main"))
    assert "Both are the same." in text
    assert "One of the two does not exist here." in read(bob.see(f"/{repo}/compare?base=main&head=nope"))
    assert f"#{number + 1}" in read(bob.see(f"/{repo}/pulls"))


def test_a_review_of_an_older_version_says_so(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, number = stage(world)
    approve(world, repo, number)
    push(world, repo, "three\n")
    assert "of an older version" in read(visitor("ann").see(f"/{repo}/pulls/{number}"))


def test_rules_and_deliveries_are_for_admins(world: World, visitor: Any, stage: Any, read: Any) -> None:
    repo, _ = stage(world, contexts=("factory/ci",))
    hook = {"type": "forgejo", "active": True, "events": ["issues"], "config": {
        "url": "http://127.0.0.1:9/hook", "content_type": "json", "secret": "very-secret-word"}}  # fmt: skip
    made = world.ok("ann", "POST", f"/repos/{repo}/hooks", hook)["id"]
    ann, bob = visitor("ann"), visitor("bob")
    rules = read(ann.see(f"/{repo}/settings/branches"))
    assert "mai[n] Direct pushes nobody Merging everybody who may write Approvals 1 Checks factory/ci" in rules
    assert "Admins bound by this too" in rules
    world.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "Ring <b>ring</b>"})
    listed, shown = ann.see(f"/{repo}/settings/hooks"), ann.see(f"/{repo}/settings/hooks/{made}")
    assert "http://127.0.0.1:9/hook" in listed
    assert "Ring &lt;b&gt;ring&lt;/b&gt;" in shown
    assert "very-secret-word" not in listed + shown
    for page in ("branches", "hooks", f"hooks/{made}"):
        assert bob.get(f"/{repo}/settings/{page}").status_code == 403
        assert visitor().get(f"/{repo}/settings/{page}").url.path == "/user/login"
    other = world.repo()
    assert ann.get(f"/{other}/settings/hooks/{made}").status_code == 404
