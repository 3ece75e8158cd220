"""Filing and steering issues with forms, checked through the API."""

from __future__ import annotations

from typing import Any

import pytest

World = Any


@pytest.fixture
def repo(world: World) -> str:
    name = world.repo(bob="write", eve="read")
    for label in ("backlog", "priority"):
        world.ok("ann", "POST", f"/repos/{name}/labels", {"name": label, "color": "#0e8a16", "description": "d"})
    return str(name)


def ids(world: World, repo: str) -> dict[str, int]:
    return {label["name"]: label["id"] for label in world.ok("ann", "GET", f"/repos/{repo}/labels")}


def file(world: World, repo: str, title: str, *labels: str, who: str = "ann", body: str = "") -> int:
    known = ids(world, repo)
    made = {"title": title, "body": body, "labels": [known[name] for name in labels]}
    return int(world.ok(who, "POST", f"/repos/{repo}/issues", made)["number"])


def test_filing_with_labels(world: World, visitor: Any, repo: str, read: Any) -> None:
    page = f"/{repo}/issues/new"
    done = visitor("bob").send(
        page, title="It is wrong", body="line 1\r\nline 2", label=[str(ids(world, repo)["backlog"])]
    )
    assert done.url.path == f"/{repo}/issues/1"
    made = world.ok("ann", "GET", f"/repos/{repo}/issues/1")
    assert (made["title"], made["body"], made["user"]["login"]) == ("It is wrong", "line 1\nline 2", "bob")
    assert [label["name"] for label in made["labels"]] == ["backlog"]
    assert "bob put the label backlog" in read(done.text)


def test_readers_file_without_labels(world: World, visitor: Any, repo: str) -> None:
    eve = visitor("eve")
    assert 'name="label"' not in eve.see(f"/{repo}/issues/new")
    eve.send(f"/{repo}/issues/new", title="Please", label=[str(ids(world, repo)["backlog"])])
    assert world.ok("ann", "GET", f"/repos/{repo}/issues/1")["labels"] == []


def test_a_refused_issue_keeps_what_was_typed(visitor: Any, repo: str) -> None:
    label = {"label": ["1", "x", "9" * 30]}
    done = visitor("bob").send(f"/{repo}/issues/new", title="  ", body="Half a <novel>", expect=422, **label)
    assert "[Title]: Required" in done.text
    assert "Half a &lt;novel&gt;</textarea>" in done.text


def test_the_list_filters_by_state_label_and_title(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "Alpha 100% sure", "backlog")
    file(world, repo, "Beta_one", "backlog", "priority")
    closed = file(world, repo, "Gamma")
    world.ok("ann", "PATCH", f"/repos/{repo}/issues/{closed}", {"state": "closed"})
    bob = visitor("bob")

    def shown(query: str) -> list[str]:
        text = read(bob.see(f"/{repo}/issues?{query}"))
        return [title for title in ("Alpha", "Beta", "Gamma") if title in text]

    assert shown("") == ["Alpha", "Beta"]
    assert shown("state=closed") == ["Gamma"]
    assert shown("state=all") == ["Alpha", "Beta", "Gamma"]
    assert shown("label=backlog&label=priority") == ["Beta"]
    assert shown("label=unknown") == []
    assert shown("q=ALPHA") == ["Alpha"]
    assert shown("q=0%25") == ["Alpha"]  # a percent sign is one, not a wildcard
    assert shown("q=a_o") == ["Beta"]
    assert shown("q=a_s&state=all") == []
    assert shown("state=nonsense&sort=oldest&page=1") == ["Alpha", "Beta"]
    assert shown("page=2") == []
    assert shown("page=-1&page=x") == ["Alpha", "Beta"]


def test_a_long_list_has_pages(world: World, visitor: Any, repo: str) -> None:
    for number in range(31):
        file(world, repo, f"Issue number {number:02}")
    bob = visitor("bob")
    assert "Issue number 30" in bob.see(f"/{repo}/issues")
    assert "Issue number 00" not in bob.see(f"/{repo}/issues")
    assert f'href="/{repo}/issues?page=2"' in bob.see(f"/{repo}/issues")
    assert "Issue number 00" in bob.see(f"/{repo}/issues?page=2")


def test_commenting_closing_and_reopening(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "Talk")
    page, action = f"/{repo}/issues/1", f"/{repo}/issues/1/comment"
    bob = visitor("bob")
    done = bob.send(page, action, body="Hello **there**")
    assert "<strong>there</strong>" in done.text
    bob.send(page, action, body="Done.", state="closed")
    found = world.ok("ann", "GET", f"/repos/{repo}/issues/1")
    assert (found["state"], found["comments"]) == ("closed", 2)
    done = bob.send(page, action, body="", state="open")
    assert "bob reopened this" in read(done.text)
    assert world.ok("ann", "GET", f"/repos/{repo}/issues/1")["comments"] == 2
    assert "[Body]: Required" in bob.send(page, action, body=" ", expect=422).text


def test_strangers_to_an_issue_talk_but_do_not_close_it(world: World, visitor: Any, repo: str) -> None:
    file(world, repo, "Mine")
    eve, page = visitor("eve"), f"/{repo}/issues/1"
    html = eve.see(page)
    assert "Close issue" not in html
    assert f'action="{page}/labels"' not in html
    assert f"{page}/edit" not in html
    eve.send(page, f"{page}/comment", body="I see it too")
    token = html.split('name="_token" value="')[1].split('"')[0]
    assert eve.post(f"{page}/comment", {"_token": token, "state": "closed"}).status_code == 403
    assert eve.post(f"{page}/labels", {"_token": token}).status_code == 403
    assert eve.post(f"{page}/edit", {"_token": token, "title": "Hers"}).status_code == 403
    found = world.ok("ann", "GET", f"/repos/{repo}/issues/1")
    assert (found["state"], found["title"], found["comments"]) == ("open", "Mine", 1)


def test_relabelling(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "Sort me", "backlog")
    page = f"/{repo}/issues/1"
    done = visitor("bob").send(page, f"{page}/labels", label=[str(ids(world, repo)["priority"])])
    assert [one["name"] for one in world.ok("ann", "GET", f"/repos/{repo}/issues/1/labels")] == ["priority"]
    assert "bob took off the label backlog" in read(done.text)
    visitor("bob").send(page, f"{page}/labels")
    assert world.ok("ann", "GET", f"/repos/{repo}/issues/1/labels") == []


def test_editing(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "Old <title>", who="eve", body="old")
    page = f"/{repo}/issues/1/edit"
    eve = visitor("eve")
    assert 'value="Old &lt;title&gt;"' in eve.see(page)
    done = eve.send(page, title="New title", body="new")
    assert "eve changed the title from Old <title> to New title" in read(done.text)
    assert world.ok("ann", "GET", f"/repos/{repo}/issues/1")["body"] == "new"


def test_an_open_dependency_keeps_it_open(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "First")
    file(world, repo, "Second")
    link = {"owner": repo.split("/")[0], "repo": repo.split("/")[1], "index": 1}
    world.ok("ann", "POST", f"/repos/{repo}/issues/2/dependencies", link)
    page = f"/{repo}/issues/2"
    done = visitor("bob").send(page, f"{page}/comment", body="", state="closed", expect=412)
    assert "cannot close this issue because it still has open dependencies" in read(done.text)
    assert "Depends on" in read(done.text)
    assert "#1 First" in read(done.text)


def test_what_is_in_hidden_repos_is_not_told(world: World, visitor: Any, repo: str, read: Any) -> None:
    secret = world.repo(private=True, bob="write")
    file(world, secret, "Top secret plan")
    file(world, repo, "Open question")
    link = {"owner": "ann", "repo": secret.split("/")[1], "index": 1}
    world.ok("ann", "POST", f"/repos/{repo}/issues/1/dependencies", link)
    world.ok("ann", "POST", f"/repos/{repo}/issues/1/comments", {"body": f"see {secret}#1"})
    world.ok("bob", "POST", f"/repos/{secret}/issues/1/comments", {"body": f"see {repo}#1"})
    html = visitor("eve").see(f"/{repo}/issues/1")
    assert "secret plan" not in html
    assert f'href="/{secret}' not in html
    assert "something you may not see" in html
    assert "Top secret plan" in read(visitor("bob").see(f"/{repo}/issues/1"))


def test_numbers_lead_to_their_own_kind(world: World, visitor: Any, repo: str, stage: Any) -> None:
    made, number = stage(world)
    ann = visitor("ann")
    assert ann.get(f"/{made}/issues/{number}").url.path == f"/{made}/pulls/{number}"
    assert ann.get(f"/{made}/pulls/1").status_code == 404
    for wrong in ("x", "0", "9" * 30, "1.diff.x", "%00", "-1"):
        assert ann.get(f"/{made}/issues/{wrong}").status_code == 404
        assert ann.get(f"/{made}/pulls/{wrong}").status_code == 404


def test_an_archived_repo_is_only_read(world: World, visitor: Any, repo: str) -> None:
    file(world, repo, "Old")
    world.ok("ann", "PATCH", f"/repos/{repo}", {"archived": True})
    bob = visitor("bob")
    assert f'action="/{repo}/issues/1/comment"' not in bob.see(f"/{repo}/issues/1")
    assert "New issue</a>" not in bob.see(f"/{repo}/issues")
    token = bob.see("/").split('name="_token" value="')[1].split('"')[0]
    assert bob.post(f"/{repo}/issues/1/comment", {"_token": token, "body": "x"}).status_code == 423


def test_the_labels_page_counts_open_issues(world: World, visitor: Any, repo: str, read: Any) -> None:
    file(world, repo, "One", "backlog")
    assert "backlog d 1 open" in read(visitor("eve").see(f"/{repo}/labels"))
