"""The client against a scripted server: what it repeats, what it never repeats, what it never says."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from factory.errors import FactoryError, ForgeError, ForgeRefused, ForgeUnavailable, NotFound
from factory.forge.client import ForgejoClient
from factory.forge.retry import Backoff
from factory.forge.values import BranchProtection, CheckState, Label, RepoName, ReviewState

REPO = RepoName("o", "r")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
API = "/api/v1"
R = f"{API}/repos/o/r"


class Waits(list[float]):
    """Records waiting instead of doing it."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def client(httpserver: HTTPServer, waits: Waits) -> Iterator[ForgejoClient]:
    with ForgejoClient(httpserver.url_for("/").rstrip("/"), TOKEN, sleep=waits, timeout_s=2) as made:
        yield made


def script(server: HTTPServer, path: str, method: str, *answers: tuple[int, object]) -> list[Request]:
    """Answer one after the other (the last one for ever); returns the requests as they come."""
    seen: list[Request] = []

    def handle(request: Request) -> Response:
        status, body = answers[min(len(seen), len(answers) - 1)]
        request.get_data()
        seen.append(request)
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return Response(text, status, content_type="application/json")

    server.expect_request(path, method=method).respond_with_handler(handle)
    return seen


PULL = {
    "number": 1,
    "state": "open",
    "merged": False,
    "mergeable": True,
    "head": {"ref": "fix/1", "sha": "a" * 40, "repo": {"full_name": "o/r"}},
    "base": {"ref": "main", "sha": "b" * 40},
    "merge_base": "b" * 40,
}
MERGED = {**PULL, "merged": True, "state": "closed", "merge_commit_sha": "c" * 40}
ISSUE = {"number": 1, "title": "t", "state": "open", "labels": [], "user": {"id": 1, "login": "x"}}


# reads


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_read_is_repeated_while_the_trouble_passes(
    httpserver: HTTPServer, client: ForgejoClient, waits: Waits, status: int
) -> None:
    seen = script(httpserver, f"{R}/issues/1", "GET", (status, ""), (status, ""), (200, ISSUE))
    assert client.issue(REPO, 1).number == 1
    assert len(seen) == 3 == client.requests
    assert waits == [0.1, 0.2]


@pytest.mark.parametrize("status", [500, 503])
def test_a_read_gives_up_in_bounds(httpserver: HTTPServer, client: ForgejoClient, waits: Waits, status: int) -> None:
    script(httpserver, f"{R}/issues/1", "GET", (status, {"message": "down"}))
    with pytest.raises(ForgeUnavailable, match=r"reading issue o/r#1: the forge answered \d+: down"):
        client.issue(REPO, 1)
    assert sum(waits) <= 3.0


@pytest.mark.parametrize(("said", "waited"), [("1", 1.0), ("86400", None)])
def test_retry_after_is_kept_unless_it_is_absurd(
    httpserver: HTTPServer, client: ForgejoClient, waits: Waits, said: str, waited: float | None
) -> None:
    handler = httpserver.expect_ordered_request(f"{R}/issues/1")
    handler.respond_with_data("", 429, headers={"Retry-After": said})
    httpserver.expect_ordered_request(f"{R}/issues/1").respond_with_json(ISSUE)
    if waited is None:
        with pytest.raises(ForgeUnavailable):
            client.issue(REPO, 1)
        assert waits == []
    else:
        client.issue(REPO, 1)
        assert waits == [waited]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 422, 423])
def test_a_clear_no_is_not_repeated(httpserver: HTTPServer, client: ForgejoClient, status: int) -> None:
    seen = script(httpserver, f"{R}/issues/1", "GET", (status, {"message": "no"}))
    with pytest.raises(ForgeRefused) as caught:
        client.issue(REPO, 1)
    assert (caught.value.status, caught.value.detail) == (status, "no")
    assert isinstance(caught.value, NotFound) is (status == 404)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"message":"m","url":"u"}', "m"),
        (
            '{"message":"The target couldn\'t be found.","url":"u","errors":["a","b"]}',
            "The target couldn't be found.; a; b",
        ),
        ('{"message":"m","errors":null}', "m"),
        ('{"message":"m"}', "m"),
        ('"CrossRepositoryDependencies not enabled"', "CrossRepositoryDependencies not enabled"),
        ("", ""),
        ("<html>nginx</html>", ""),
        ("[]", ""),
        ("{}", ""),
    ],
)
def test_every_error_shape_is_understood(httpserver: HTTPServer, client: ForgejoClient, body: str, detail: str) -> None:
    script(httpserver, f"{R}/issues/1", "GET", (403, body))
    with pytest.raises(ForgeRefused) as caught:
        client.issue(REPO, 1)
    assert caught.value.detail == detail


# what must never be said


def all_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(getattr(error, "hint", ""))


@pytest.mark.parametrize("path", ["/version", "/user"])
@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_an_echoed_token_reaches_no_message(
    httpserver: HTTPServer, client: ForgejoClient, status: int, path: str
) -> None:
    script(httpserver, API + path, "GET", (status, {"message": f"access token does not exist [sha: {TOKEN}]"}))
    with pytest.raises(ForgeError) as caught:
        client.version() if path == "/version" else client.me()
    assert TOKEN not in all_text(caught.value)
    assert TOKEN not in repr(client)


def test_no_credential_in_an_unreachable_forges_error(waits: Waits) -> None:
    with (
        ForgejoClient(f"http://user:{TOKEN}@127.0.0.1:1", basic=("user", "pass-word-1"), sleep=waits) as client,
        pytest.raises(ForgeUnavailable, match="cannot reach the forge") as caught,
    ):
        client.version()
    text = all_text(caught.value)
    assert TOKEN not in text
    assert "pass-word-1" not in text
    assert caught.value.exit_code == 6


def test_the_token_is_not_sent_to_another_host(httpserver: HTTPServer, client: ForgejoClient) -> None:
    with HTTPServer("127.0.0.1", 0) as other:
        other.expect_request("/").respond_with_data("")
        httpserver.expect_request(f"{R}/issues/1").respond_with_data(
            "", 301, headers={"Location": other.url_for("/api/v1/repos/o/r/issues/1")}
        )
        with pytest.raises(ForgeRefused, match="redirects to"):
            client.issue(REPO, 1)
        assert other.log == []


# redirects


def test_a_renamed_repo_is_found_by_a_read_before_a_write(httpserver: HTTPServer, client: ForgejoClient) -> None:
    for method in ("GET", "POST"):
        httpserver.expect_request(f"{R}/issues/1/comments", method=method).respond_with_data(
            "", 301, headers={"Location": f"{API}/repos/o/new/issues/1/comments"}
        )
    httpserver.expect_request(R, method="GET").respond_with_data("", 301, headers={"Location": f"{API}/repos/o/new"})
    httpserver.expect_request(f"{API}/repos/o/new", method="GET").respond_with_json(
        {"full_name": "o/new", "name": "new"}
    )
    posts = script(httpserver, f"{API}/repos/o/new/issues/1/comments", "POST", (201, {"id": 5, "body": "hi"}))
    assert client.comment(REPO, 1, "hi").id == 5
    assert [request.method for request in posts] == ["POST"]
    assert json.loads(posts[0].data) == {"body": "hi"}
    # From now on the new name is asked directly.
    client.comment(REPO, 1, "again")
    assert len(posts) == 2


def test_a_redirect_in_a_circle_ends(httpserver: HTTPServer, client: ForgejoClient) -> None:
    httpserver.expect_request(f"{R}/issues/1").respond_with_data("", 301, headers={"Location": f"{R}/issues/1"})
    with pytest.raises(ForgeError, match="in a circle"):
        client.issue(REPO, 1)
    assert client.requests == 4


# bounds


def test_an_endless_answer_is_cut(httpserver: HTTPServer, waits: Waits) -> None:
    httpserver.expect_request(f"{R}/pulls/1.diff").respond_with_data("x" * 5000)
    with (
        ForgejoClient(httpserver.url_for(""), TOKEN, sleep=waits, most_bytes=1000) as client,
        pytest.raises(ForgeError, match="larger than 1000 bytes"),
    ):
        client.pull_diff(REPO, 1)


def test_a_list_without_end_is_given_up(
    httpserver: HTTPServer, client: ForgejoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.forge.calls.MOST_PAGES", 5)
    script(httpserver, f"{R}/labels", "GET", (200, [{"id": 1, "name": "same"}]))
    with pytest.raises(ForgeError, match="did not end after 5 pages"):
        client.labels(REPO)


@contextmanager
def raw_server(answer: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """A TCP server that calls ``answer`` with each connection (after its request arrived) and its count."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        count = 0
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    answer(connection, count)
                except OSError:
                    pass
            count += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_a_silent_forge_is_not_waited_for_for_ever() -> None:
    done = threading.Event()
    with raw_server(lambda _c, _n: done.wait(5) and None) as url:
        with (
            ForgejoClient(url, TOKEN, timeout_s=0.2, reads=Backoff(0.01, 1, 0.01, 0.01)) as client,
            pytest.raises(ForgeUnavailable, match="no usable answer"),
        ):
            client.version()
        done.set()


def test_an_answer_that_drips_is_cut() -> None:
    clock = iter(range(0, 100_000, 10))

    def drip(connection: socket.socket, _count: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(50):
            connection.sendall(b"x")

    with (
        raw_server(drip) as url,
        ForgejoClient(url, TOKEN, timeout_s=2, clock=lambda: float(next(clock)), reads=Backoff(total=0)) as client,
        pytest.raises(ForgeUnavailable),
    ):
        client.version()


def test_headers_that_drip_are_cut() -> None:
    """Each wait is short enough; only together they would last for ever."""
    stop = threading.Event()

    def drip(connection: socket.socket, _count: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"X-Again: and again\r\n")

    began = time.monotonic()
    with (
        raw_server(drip) as url,
        ForgejoClient(url, TOKEN, timeout_s=0.2, reads=Backoff(total=0)) as client,
    ):
        with pytest.raises(ForgeUnavailable):
            client.version()
        stop.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00\xff\x00", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", b"SSH-2.0-x\r\n", b"HTTP/9.9 ??\r\n\r\n"],
)
def test_garbage_is_an_unavailable_forge(garbage: bytes) -> None:
    with (
        raw_server(lambda connection, _n: connection.sendall(garbage)) as url,
        ForgejoClient(url, TOKEN, timeout_s=1, reads=Backoff(0.01, 1, 0.01, 0.02)) as client,
        pytest.raises(ForgeUnavailable),
    ):
        client.version()


@pytest.mark.parametrize("body", ["null", "[]", "3", '"x"', "", "<html></html>"])
def test_a_page_that_is_not_the_api_yields_empty_values_not_crashes(
    httpserver: HTTPServer, client: ForgejoClient, body: str
) -> None:
    httpserver.expect_request("").respond_with_data(body)
    script(httpserver, f"{R}/issues/1", "GET", (200, body))
    script(httpserver, f"{R}/issues/1/timeline", "GET", (200, body))
    assert client.issue(REPO, 1).number == 0
    assert client.timeline(REPO, 1) == []


# writes: once


def lost_answer(url: str, method: str, then: Callable[[ForgejoClient], object]) -> str:
    with ForgejoClient(url, TOKEN, timeout_s=1) as client, pytest.raises(ForgeUnavailable) as caught:
        then(client)
    return str(caught.value)


def test_a_write_without_an_answer_is_not_sent_twice() -> None:
    count: list[int] = []

    def drop(_connection: socket.socket, number: int) -> None:
        count.append(number)

    with raw_server(drop) as url:
        text = lost_answer(url, "POST", lambda client: client.comment(REPO, 1, "hello"))
    assert count == [0]
    assert "whether it was done is not known" in text


def test_a_write_that_never_left_says_so(waits: Waits) -> None:
    with ForgejoClient("http://127.0.0.1:1", TOKEN, sleep=waits) as client, pytest.raises(ForgeUnavailable) as caught:
        client.comment(REPO, 1, "hello")
    assert "cannot reach the forge" in str(caught.value)
    assert "not known" not in str(caught.value)
    assert client.requests == 2


Settle = tuple[str, str, tuple[int, object], str, tuple[int, object], Callable[[ForgejoClient], object]]
SHA = "a" * 40
SETTLED: dict[str, Settle] = {
    "labels": ("POST", f"{R}/issues/1/labels", (502, ""), f"{R}/issues/1/labels", (200, [{"name": "a"}]),
               lambda c: c.add_labels(REPO, 1, ["a"])),
    "edit issue": ("PATCH", f"{R}/issues/1", (502, ""), f"{R}/issues/1", (200, {**ISSUE, "title": "new"}),
                   lambda c: c.edit_issue(REPO, 1, title="new")),
    "close issue": ("PATCH", f"{R}/issues/1", (502, ""), f"{R}/issues/1", (200, {**ISSUE, "state": "closed"}),
                    lambda c: c.edit_issue(REPO, 1, state="closed")),
    "edit comment": ("PATCH", f"{R}/issues/comments/7", (504, ""), f"{R}/issues/comments/7",
                     (200, {"id": 7, "body": "b"}),
                     lambda c: c.edit_comment(REPO, 7, "b")),
    "edit pull": ("PATCH", f"{R}/pulls/1", (502, ""), f"{R}/pulls/1", (200, {**PULL, "body": "x"}),
                  lambda c: c.edit_pull(REPO, 1, body="x")),
    "create pull": ("POST", f"{R}/pulls", (502, ""), f"{R}/pulls", (200, [PULL]),
                    lambda c: c.create_pull(REPO, head="fix/1", base="main", title="t", body="")),
    "status": ("POST", f"{R}/statuses/{SHA}", (502, ""), f"{R}/commits/{SHA}/status",
               (200, {"statuses": [{"context": "ci", "status": "success", "description": "d"}]}),
               lambda c: c.post_status(REPO, SHA, context="ci", state=CheckState.SUCCESS, description="d")),
    "remove label": ("DELETE", f"{R}/issues/1/labels/a", (502, ""), f"{R}/issues/1/labels", (200, []),
                     lambda c: c.remove_label(REPO, 1, "a") or "gone"),
    "delete branch": ("DELETE", f"{R}/branches/fix%2F1", (502, ""), f"{R}/branches/fix%2F1", (404, ""),
                      lambda c: c.delete_branch(REPO, "fix/1") or "gone"),
    "update": ("POST", f"{R}/pulls/1/update", (500, {"message": ""}), f"{R}/pulls/1", (200, PULL),
               lambda c: c.update_pull(REPO, 1) or "up to date"),
    "dependency": ("POST", f"{R}/issues/1/dependencies", (500, {"message": ""}), f"{R}/issues/1/dependencies",
                   (200, [{"number": 2, "repository": {"full_name": "o/r"}}]),
                   lambda c: c.add_dependency(REPO, 1, (REPO, 2)) or "there"),
    "label": ("POST", f"{R}/labels", (502, ""), f"{R}/labels", (200, [{"id": 1, "name": "a"}]),
              lambda c: c.create_label(REPO, Label(0, "a"))),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTLED)
def test_a_write_with_a_lost_answer_is_settled_by_reading(
    httpserver: HTTPServer, client: ForgejoClient, name: str
) -> None:
    method, path, lost, read, found, call = SETTLED[name]
    writes = script(httpserver, path.replace("%2F", "/"), method, lost)

    def page(request: Request) -> Response:
        empty = request.args.get("page", "1") != "1" and isinstance(found[1], list)
        return Response(json.dumps([] if empty else found[1]), found[0], content_type="application/json")

    httpserver.expect_request(read.replace("%2F", "/"), method="GET").respond_with_handler(page)
    assert call(client)
    assert len(writes) <= 1


@pytest.mark.parametrize("name", [name for name in SETTLED if name not in ("label", "update")])
def test_a_write_that_does_not_show_is_unknown(httpserver: HTTPServer, client: ForgejoClient, name: str) -> None:
    method, path, lost, read, _, call = SETTLED[name]
    writes = script(httpserver, path.replace("%2F", "/"), method, lost)
    other = {
        "remove label": [{"name": "a"}],
        "edit comment": {"id": 7, "body": "old"},
        "status": {"statuses": None},
    }.get(name, {"edit pull": PULL, "edit issue": ISSUE, "close issue": ISSUE}.get(name, []))
    script(httpserver, read.replace("%2F", "/"), "GET", (200, other))
    with pytest.raises(ForgeUnavailable, match="does not show on the forge"):
        call(client)
    assert len(writes) == 1


# paging


def test_pages_end_where_link_says(httpserver: HTTPServer, client: ForgejoClient) -> None:
    def page(request: Request) -> Response:
        at = int(request.args["page"])
        link = {"Link": f'<{R}/issues?page={at + 1}>; rel="next"'} if at < 3 else {"Link": '<x>; rel="first"'}
        return Response(json.dumps([{**ISSUE, "number": at}]), headers=link, content_type="application/json")

    httpserver.expect_request(f"{R}/issues").respond_with_handler(page)
    assert [issue.number for issue in client.issues(REPO)] == [1, 2, 3]
    assert client.requests == 3


def test_pages_end_at_the_total_even_when_the_server_clamps(httpserver: HTTPServer, client: ForgejoClient) -> None:
    def page(request: Request) -> Response:
        at = int(request.args["page"]) - 1
        rows = [{"id": n, "name": f"l{n}"} for n in range(at * 10, min(at * 10 + 10, 25))]
        return Response(json.dumps(rows), headers={"X-Total-Count": "25"}, content_type="application/json")

    httpserver.expect_request(f"{R}/labels").respond_with_handler(page)
    assert len(client.labels(REPO)) == 25
    assert client.requests == 3


def test_without_any_header_only_an_empty_page_ends_it(httpserver: HTTPServer, client: ForgejoClient) -> None:
    def page(request: Request) -> Response:
        rows = [{"number": int(request.args["page"])}] if int(request.args["page"]) <= 2 else []
        return Response(json.dumps(rows), content_type="application/json")

    httpserver.expect_request(f"{R}/issues/1/dependencies").respond_with_handler(page)
    assert [d.number for d in client.dependencies(REPO, 1)] == [1, 2]
    assert client.requests == 3


@pytest.mark.parametrize("body", ["null", "[]"])
def test_a_null_list_is_empty(httpserver: HTTPServer, client: ForgejoClient, body: str) -> None:
    for path in (
        "issues/1/timeline",
        "issues/1/comments",
        "pulls/1/reviews",
        "branch_protections",
        "issues/1/dependencies",
    ):
        httpserver.expect_request(f"{R}/{path}").respond_with_data(body, content_type="application/json")
    assert client.timeline(REPO, 1) == client.comments(REPO, 1) == client.reviews(REPO, 1) == []
    assert client.protections(REPO) == client.dependencies(REPO, 1) == []


def test_more_statuses_than_a_page_are_all_read_newest_first(httpserver: HTTPServer, client: ForgejoClient) -> None:
    def page(request: Request) -> Response:
        at = int(request.args["page"]) - 1
        rows = [{"context": f"c{n}", "status": "success"} for n in range(at * 50, min(at * 50 + 50, 70))]
        return Response(
            json.dumps({"total_count": len(rows), "statuses": rows or None}), content_type="application/json"
        )

    httpserver.expect_request(f"{R}/commits/{SHA}/status").respond_with_handler(page)
    assert len(client.statuses(REPO, SHA)) == 70


@pytest.mark.parametrize("whole", [True, False])
def test_a_timeline_is_whole_even_where_it_is_cut_into_lossy_pages(
    httpserver: HTTPServer, client: ForgejoClient, whole: bool
) -> None:
    rows = [{"id": n, "type": "comment", "body": str(n)} for n in range(100)]

    def page(request: Request) -> Response:
        at = int(request.args.get("page", "0"))
        found = rows if whole and not at else rows[max(at - 1, 0) * 30 : max(at, 1) * 30]
        kept = [row for row in found if not whole or not at] if at != 3 or whole else None  # a page lost to filtering
        return Response(json.dumps(kept or found if whole else kept), content_type="application/json")

    httpserver.expect_request(f"{R}/issues/1/timeline").respond_with_handler(page)
    found = [event.id for event in client.timeline(REPO, 1)]
    assert found == ([*range(100)] if whole else [*range(60), *range(90, 100)])


# the search


def found(number: int, second: int, *, owner: str = "o", pull: bool = False) -> dict[str, object]:
    return {
        **ISSUE,
        "number": number,
        "updated_at": f"2026-06-10T10:00:{second:02}Z",
        "repository": {"full_name": f"{owner}/r", "owner": owner, "name": "r"},
        "pull_request": {"merged": False} if pull else None,
    }


def test_the_search_asks_for_issues_and_pulls_at_once(httpserver: HTTPServer, client: ForgejoClient) -> None:
    seen = script(
        httpserver, f"{API}/repos/issues/search", "GET", (200, [found(2, 9, pull=True), found(1, 5)]), (200, [])
    )
    items, newest = client.changed_since("o", datetime(2026, 6, 10, 10, 0, 4, 900_000, tzinfo=UTC))
    assert {(str(repo), item.number, type(item).__name__) for repo, item in items} == {
        ("o/r", 2, "Pull"),
        ("o/r", 1, "Issue"),
    }
    assert newest == datetime(2026, 6, 10, 10, 0, 9, tzinfo=UTC)
    asked = seen[0].args
    assert "type" not in asked
    assert "q" not in asked
    assert (asked["owner"], asked["state"], asked["sort"]) == ("o", "all", "recentupdate")
    assert asked["since"] == "2026-06-10T10:00:04Z"


def test_a_settled_search_stops_at_what_is_known(httpserver: HTTPServer, client: ForgejoClient) -> None:
    pages = [[found(3, 9), found(2, 5)], [found(1, 5)], []]
    seen = script(httpserver, f"{API}/repos/issues/search", "GET", *((200, page) for page in pages))
    items, _ = client.changed_since("o", None, settled=datetime(2026, 6, 10, 10, 0, 5, tzinfo=UTC))
    assert [item.number for _, item in items] == [3, 2]
    assert len(seen) == 1


def test_a_server_that_does_not_sort_is_read_to_its_end(httpserver: HTTPServer, client: ForgejoClient) -> None:
    pages = [[found(2, 5), found(3, 9)], [found(1, 5)], []]  # the second page alone looks sorted
    seen = script(httpserver, f"{API}/repos/issues/search", "GET", *((200, page) for page in pages))
    items, newest = client.changed_since("o", None, settled=datetime(2026, 6, 10, 10, 0, 5, tzinfo=UTC))
    assert len(items) == 3
    assert len(seen) == 3
    assert newest == datetime(2026, 6, 10, 10, 0, 9, tzinfo=UTC)


def test_results_of_other_owners_are_left_out(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{API}/repos/issues/search", "GET", (200, [found(1, 9, owner="else"), found(2, 5)]), (200, []))
    items, newest = client.changed_since("o", None)
    assert [item.number for _, item in items] == [2]
    assert newest == datetime(2026, 6, 10, 10, 0, 5, tzinfo=UTC)


# labels and issues


def test_an_ignored_label_is_noticed(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/issues/1/labels", "POST", (200, [{"name": "a"}]))
    with pytest.raises(ForgeRefused, match="the forge ignored b"):
        client.add_labels(REPO, 1, ["a", "b"])


def test_a_forge_that_knows_labels_by_number_only_is_told_the_number(
    httpserver: HTTPServer, client: ForgejoClient
) -> None:
    """Forgejo 11 and Gitea: there a name is a number nobody has."""
    by_name = script(httpserver, f"{R}/issues/1/labels/a", "DELETE", (422, {"message": "label does not exist"}))
    there = [{"id": 8, "name": "b"}, {"id": 9, "name": "a"}]
    script(httpserver, f"{R}/issues/1/labels", "GET", (200, there), (200, there[:1]))
    by_number = script(httpserver, f"{R}/issues/1/labels/9", "DELETE", (204, ""))
    client.remove_label(REPO, 1, "a")
    assert (len(by_name), len(by_number)) == (1, 1)
    client.remove_label(REPO, 1, "a")
    assert (len(by_name), len(by_number)) == (2, 1), "it is not there: nothing is left to do"


def test_labels_at_creation_go_by_id_and_are_verified(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/labels", "GET", (200, [{"id": 9, "name": "a"}]), (200, []))
    made = script(httpserver, f"{R}/issues", "POST", (201, {**ISSUE, "labels": [{"name": "a"}]}), (201, ISSUE))
    client.create_issue(REPO, title="t", body="b", labels=["a"])
    assert json.loads(made[0].data) == {"title": "t", "body": "b", "labels": [9]}


def test_labels_dropped_at_creation_are_noticed(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/labels", "GET", (200, [{"id": 9, "name": "a"}]), (200, []))
    script(httpserver, f"{R}/issues", "POST", (201, ISSUE))
    with pytest.raises(ForgeRefused, match="#1 was created without the label a"):
        client.create_issue(REPO, title="t", body="b", labels=["a"])


def test_an_unknown_label_creates_no_issue(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/labels", "GET", (200, []))
    made = script(httpserver, f"{R}/issues", "POST", (201, ISSUE))
    with pytest.raises(ForgeRefused, match="no such label: a"):
        client.create_issue(REPO, title="t", body="b", labels=["a"])
    assert made == []


def test_a_filter_the_forge_ignored_is_applied_here(httpserver: HTTPServer, client: ForgejoClient) -> None:
    rows = [{**ISSUE, "number": 1}, {**ISSUE, "number": 2, "labels": [{"name": "typo"}]}]
    script(httpserver, f"{R}/issues", "GET", (200, rows), (200, []))
    assert [issue.number for issue in client.issues(REPO, labels=["typo"])] == [2]


def test_a_pull_is_not_an_issue(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/issues/1", "GET", (200, {**ISSUE, "pull_request": {"merged": False}}))
    with pytest.raises(NotFound):
        client.issue(REPO, 1)


def test_an_issue_never_depends_on_itself(client: ForgejoClient) -> None:
    with pytest.raises(ForgeRefused, match="cannot depend on itself"):
        client.add_dependency(REPO, 1, (REPO, 1))
    assert client.requests == 0


# reviews


def test_a_review_that_became_a_draft_is_noticed(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/pulls/1/reviews", "GET", (200, []))
    script(httpserver, f"{R}/pulls/1/reviews", "POST", (200, {"id": 1, "state": "PENDING"}))
    with pytest.raises(ForgeRefused, match="recorded PENDING instead of APPROVED"):
        client.review(REPO, 1, state=ReviewState.APPROVED, body="", commit=SHA)


def test_a_review_names_its_commit_and_lines(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/pulls/1/reviews", "GET", (200, None))
    sent = script(
        httpserver, f"{R}/pulls/1/reviews", "POST", (200, {"id": 1, "state": "REQUEST_CHANGES", "commit_id": SHA})
    )
    client.review(REPO, 1, state=ReviewState.REQUEST_CHANGES, body="no", commit=SHA, comments=[("a.py", 3, "here")])
    assert json.loads(sent[0].data) == {
        "event": "REQUEST_CHANGES",
        "body": "no",
        "commit_id": SHA,
        "comments": [{"path": "a.py", "new_position": 3, "body": "here"}],
    }


def test_a_second_pull_for_the_same_branches_is_the_first(httpserver: HTTPServer, client: ForgejoClient) -> None:
    text = "pull request already exists for these targets [id: 77, issue_id: 1, head_repo_id: 1, base_repo_id: 1]"
    script(httpserver, f"{R}/pulls", "POST", (409, {"message": text}))
    script(httpserver, f"{R}/pulls/1", "GET", (200, PULL))
    assert client.create_pull(REPO, head="fix/1", base="main", title="t", body="").number == 1


# merging


def merge(client: ForgejoClient) -> str:
    return client.merge(REPO, 1, head=SHA, title="T", message="M")


def heads(server: HTTPServer, head: str) -> None:
    """The repo's own ref of the head of its first pull request."""
    script(server, "/o/r.git/git-upload-pack", "POST", (200, f"003e{head} refs/pull/1/head\n0000"))


def test_a_merge_sends_the_head_it_means(httpserver: HTTPServer, client: ForgejoClient) -> None:
    sent = script(httpserver, f"{R}/pulls/1/merge", "POST", (200, ""))
    script(httpserver, f"{R}/pulls/1", "GET", (200, MERGED))
    assert merge(client) == "c" * 40
    assert json.loads(sent[0].data) == {
        "Do": "merge",
        "MergeTitleField": "T",
        "MergeMessageField": "M",
        "head_commit_id": SHA,
    }


AGAIN = (405, {"message": "Please try again later"})


@pytest.mark.parametrize(
    "answers",
    [
        [AGAIN, AGAIN, (200, "")],
        [(409, {"message": "merge push out of date"}), (200, "")],
        [(409, {"message": "PushRejected without remote error message"}), (200, "")],
        [(502, ""), (200, "")],
        [(500, {"message": ""}), (200, "")],
    ],
)
def test_a_transient_no_is_asked_again(
    httpserver: HTTPServer, client: ForgejoClient, waits: Waits, answers: list[tuple[int, object]]
) -> None:
    sent = script(httpserver, f"{R}/pulls/1/merge", "POST", *answers)
    reads = [(200, PULL)] * (len(answers) - 1) + [(200, MERGED)]
    script(httpserver, f"{R}/pulls/1", "GET", *reads)
    assert merge(client) == "c" * 40
    assert len(sent) == len(answers)
    assert waits == [0.25, 0.5, 1.0][: len(answers) - 1]


@pytest.mark.parametrize(
    "first", [(502, ""), (500, {"message": ""}), (403, {"message": "x"}), (405, {"message": ""}), (201, "")]
)
def test_an_unclear_outcome_is_settled_by_reading(
    httpserver: HTTPServer, client: ForgejoClient, first: tuple[int, object]
) -> None:
    sent = script(httpserver, f"{R}/pulls/1/merge", "POST", first)
    script(httpserver, f"{R}/pulls/1", "GET", (200, MERGED))
    heads(httpserver, SHA)
    assert merge(client) == "c" * 40
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("reads", "match"),
    [
        ({**PULL, "head": {**PULL["head"], "sha": "d" * 40}}, "its head is dddddddddddd now"),  # type: ignore[dict-item]
        ({**PULL, "state": "closed"}, "was closed"),
        ({**PULL, "merge_base": SHA}, "contains its head already"),
        (MERGED, "merged at dddddddddddd instead"),
        ({**PULL, "mergeable": False}, "conflicts with its base"),
    ],
)
def test_try_again_later_ends_when_it_is_for_good(
    httpserver: HTTPServer, client: ForgejoClient, waits: Waits, reads: dict[str, object], match: str
) -> None:
    script(httpserver, f"{R}/pulls/1/merge", "POST", AGAIN)
    script(httpserver, f"{R}/pulls/1", "GET", (200, reads))
    heads(httpserver, "d" * 40)
    with pytest.raises(ForgeRefused, match=match):
        merge(client)
    assert sum(waits) < 10


def test_waiting_for_a_merge_is_bounded(httpserver: HTTPServer, client: ForgejoClient, waits: Waits) -> None:
    script(httpserver, f"{R}/pulls/1/merge", "POST", AGAIN)
    script(httpserver, f"{R}/pulls/1", "GET", (200, PULL))
    with pytest.raises(ForgeRefused, match="Please try again later"):
        merge(client)
    assert 20 < sum(waits) <= 30


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((405, {"message": "User not allowed to merge PR"}), "User not allowed"),
        ((405, {"message": "not allowed to merge [reason: There are requested changes]"}), "requested changes"),
        ((409, {"message": "head out of date"}), "head out of date"),
        ((409, {"Style": "merge", "StdOut": "", "StdErr": "x", "Err": {}}), "conflicts with its base"),
        ((404, {"message": "The target couldn't be found."}), "404"),
        ((423, {"message": "archived"}), "archived"),
    ],
)
def test_a_clear_no_ends_a_merge_at_once(
    httpserver: HTTPServer, client: ForgejoClient, waits: Waits, answer: tuple[int, object], match: str
) -> None:
    sent = script(httpserver, f"{R}/pulls/1/merge", "POST", answer)
    with pytest.raises(ForgeRefused, match=match):
        merge(client)
    assert len(sent) == 1
    assert waits == []


def test_an_empty_500_with_an_open_dependency_says_so(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/pulls/1/merge", "POST", (500, {"message": ""}))
    script(httpserver, f"{R}/pulls/1", "GET", (200, PULL))
    script(httpserver, f"{R}/issues/1/dependencies", "GET", (200, [{"number": 9, "state": "open"}]), (200, []))
    with pytest.raises(ForgeRefused, match=r"it depends on o/r#9, still open"):
        merge(client)


# set-up calls


def test_a_dropped_user_in_a_rule_is_noticed(httpserver: HTTPServer, client: ForgejoClient) -> None:
    rule = BranchProtection("mai[n]", enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=("a", "b"))
    sent = script(httpserver, f"{R}/branch_protections/mai[n]", "PATCH", (404, ""))
    script(httpserver, f"{R}/branch_protections", "POST", (201, {}))
    back = {
        "rule_name": "mai[n]",
        "enable_push": True,
        "enable_push_whitelist": True,
        "push_whitelist_usernames": ["a"],
    }
    script(httpserver, f"{R}/branch_protections/mai[n]", "GET", (200, back))
    with pytest.raises(ForgeRefused, match="push_whitelist_usernames: missing b"):
        client.set_protection(REPO, rule)
    assert "approvals_whitelist_username" in json.loads(sent[0].data)


def test_the_rule_name_is_one_encoded_segment(httpserver: HTTPServer, client: ForgejoClient) -> None:
    httpserver.expect_request("").respond_with_data("")
    with pytest.raises(FactoryError):
        client.set_protection(REPO, BranchProtection("release/mai[n]"))
    raw = [entry[0].environ["RAW_URI"] for entry in httpserver.log]
    assert raw[0] == f"{R}/branch_protections/release%2Fmai%5Bn%5D"


def test_a_permission_that_did_not_arrive_is_noticed(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{R}/collaborators/x", "PUT", (204, ""))
    script(httpserver, f"{R}/collaborators/x/permission", "GET", (200, {"permission": "write"}))
    with pytest.raises(ForgeRefused, match="x has write"):
        client.set_collaborator(REPO, "x", "read")
    client.set_collaborator(REPO, "x", "read", at_least=True)
    with pytest.raises(ValueError, match="is not a permission"):
        client.set_collaborator(REPO, "x", "none")


# refs


def test_ls_refs_is_one_post_with_basic_auth(httpserver: HTTPServer, client: ForgejoClient) -> None:
    answer = f"003d{SHA} refs/heads/main\n0000".encode()
    seen = script(httpserver, "/o/r.git/git-upload-pack", "POST", (503, ""), (200, answer))
    assert client.ls_refs(REPO, ["refs/heads/", "refs/factory/"]) == {"refs/heads/main": SHA}
    assert len(seen) == 2  # reading is repeated, whatever its method
    assert seen[1].headers["Git-Protocol"] == "version=2"
    assert seen[1].authorization is not None
    assert seen[1].authorization.password == TOKEN


@pytest.mark.parametrize("answer", [b"", b"<html>", b"0011ERR not here\n0000"])
def test_ls_refs_of_something_else_is_an_error(httpserver: HTTPServer, client: ForgejoClient, answer: bytes) -> None:
    script(httpserver, "/o/r.git/git-upload-pack", "POST", (200, answer))
    with pytest.raises(ForgeError, match="not git protocol v2"):
        client.ls_refs(REPO, [])


def test_ls_refs_under_an_old_name_says_so(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, "/o/r.git/git-upload-pack", "POST", (301, ""))
    with pytest.raises(ForgeError, match="the repo was renamed or moved"):
        client.ls_refs(REPO, [])


def test_the_servers_clock_is_kept() -> None:
    body = b'{"version": "15.0.3+gitea-1.22.0"}'
    head = b"HTTP/1.1 200 OK\r\nDate: Wed, 10 Jun 2026 10:00:00 GMT\r\nContent-Length: %d\r\n\r\n" % len(body)
    with raw_server(lambda c, _n: c.sendall(head + body)) as url, ForgejoClient(url, TOKEN) as client:
        assert client.server_time is None
        assert client.version().major == 15
        assert client.server_time == datetime(2026, 6, 10, 10, 0, tzinfo=UTC)


def test_requests_are_counted_from_many_threads(httpserver: HTTPServer, client: ForgejoClient) -> None:
    script(httpserver, f"{API}/version", "GET", (200, {"version": "1"}))
    threads = [threading.Thread(target=client.version) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.requests == 8


def test_a_unix_socket_serves_too(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    heads: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heads.append(connection.recv(65536))
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"version":"x"}')

    thread = threading.Thread(target=serve)
    thread.start()
    with ForgejoClient("http://127.0.0.1:3000", uds=path) as client:
        assert client.version().text == "x"
    thread.join(5)
    listener.close()
    assert b"authorization" not in heads[0].lower()
