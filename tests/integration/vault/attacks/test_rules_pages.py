"""Rules about the embedded forge's pages, each broken once: what another site makes an admin's browser send.

The browser is one that does not say from where a request comes: of those that do, the forge refuses all such requests
before it looks at cookies.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from factory.forge.client import ForgejoClient
from factory.testing.forge_process import ForgeProcess
from tests.contract.conftest import Site
from tests.integration.vault.attacks.browsing import sign_in
from tests.integration.vault.attacks.keep import FACTORY, FOUNDER, Asked, Keep
from tests.integration.vault.attacks.raid import effects, refused
from tests.integration.vault.attacks.register import RUNS, Seen, held, rule
from tests.integration.vault.commits import git

NOT_READ = "cannot here: the vault reads blobs by their paths and checks nothing out"
NO_SECRET = "cannot: there is nothing but the hash to compare with"
SIGN_IN = "tests/integration/devforge/pages/test_sign_in.py"
Send = Callable[[httpx.Client, Keep, Asked], httpx.Response]


def without(check: str) -> tuple[str, ...]:
    """The program of a forge that does not look at it."""
    return str(Path(__file__).with_name("open_forge.py")), check


@contextmanager
def another(program: Sequence[str], folder: Path) -> Iterator[Keep]:
    """An ops repo on the forge that this program is."""
    with ForgeProcess.start(folder / "forge", program=program) as process:
        url = process.url.replace("0.0.0.0", "127.0.0.1")  # it serves that, too
        site = Site("embedded", url, ForgejoClient(url, uds=process.admin_socket))
        keep = Keep(site, folder / "keep", process.home)
        yield keep
        keep.close()
        site.close()


def sent(keep: Keep, send: Send) -> str:
    """A request that an admin opened in a browser, in which the other site is open as well; merged afterwards."""
    asked = keep.ask(keep.action("gamma"))
    login = keep.site.login(FOUNDER)
    with httpx.Client(base_url=keep.site.url, timeout=20, trust_env=False) as browser:
        browser.follow_redirects = True
        sign_in(browser, keep.site.url, login, keep.site.passwords[login])
        browser.follow_redirects = False
        said = send(browser, keep, asked)
    keep.said += [] if said.status_code < 400 else [said.text]
    keep.merged(asked)
    return asked.id


def broken(own: Keep, program: Sequence[str], send: Send, folder: Path) -> Seen:
    own.broken_into("it is about the pages of the embedded forge")
    forge, code = refused(own, lambda: sent(own, send))
    with another(program, folder) as keep:
        return Seen(forge, code, RUNS if effects(keep, sent(keep, send)) == 1 else "it did not run")


def by_form(browser: httpx.Client, keep: Keep, asked: Asked) -> httpx.Response:
    """The review's form, as it stands on the other site: with no token of ours."""
    form = {"event": "APPROVED", "head": asked.head, "body": ""}
    return browser.post(f"/{keep.ops}/pulls/{asked.number}/review", data=form)


def by_api(browser: httpx.Client, keep: Keep, asked: Asked) -> httpx.Response:
    body = {"event": "APPROVED", "commit_id": asked.head, "body": ""}
    return browser.post(f"/api/v1/repos/{keep.ops}/pulls/{asked.number}/reviews", json=body)


@rule("A form of the embedded forge comes from its own page, with that page's token: another site approves nothing",
      forge="blocks", vault="no-approval",
      check="Origin and Sec-Fetch-Site of a form are the forge's own, and its token fits the cookie")  # fmt: skip
def test_rule_a_form_from_another_site(own: Keep, tmp_path: Path) -> Seen:
    return broken(own, without("forms"), by_form, tmp_path / "open")


@rule("The API of the embedded forge takes tokens, never cookies: another site approves nothing", forge="blocks",
      vault="no-approval", check="who asks the API stands in its Authorization header")  # fmt: skip
def test_rule_the_api_takes_no_cookie(own: Keep, tmp_path: Path) -> Seen:
    return broken(own, without("cookies"), by_api, tmp_path / "open")


@rule("The embedded forge takes no object that git's own check finds fault with", forge="blocks",
      vault="nothing of it is there", off=NOT_READ,
      check="every object that is pushed is looked at, strictly")  # fmt: skip
@pytest.mark.parametrize("name", [".git", ".GIT", "..", "x/.git"])
def test_rule_no_object_that_git_finds_fault_with(own: Keep, name: str) -> Seen:
    """A tree with names that lead out of a checkout."""
    own.broken_into("it is about the embedded forge")
    blob = git(own.work.repo, "hash-object", "-w", "--stdin", data=b"x")
    tree = git(own.work.repo, "mktree", data=f"100644 blob {blob}\t{name.rpartition('/')[2]}\n".encode())
    if "/" in name:
        tree = git(own.work.repo, "mktree", data=f"040000 tree {tree}\t{name.partition('/')[0]}\n".encode())
    made = own.commit({}, own.tip("main"), tree=tree)
    own.said.append(own.push(FACTORY, f"{made}:refs/heads/edit/x"))
    assert "remote unpack failed" in own.said[-1]
    assert own.tip("refs/heads/edit/x") == ""
    gone = subprocess.run(["git", f"--git-dir={own.bare()}", "cat-file", "-e", made], capture_output=True, check=False)
    assert gone.returncode != 0
    return Seen("blocks", "nothing of it is there", NOT_READ)


@rule("Tokens lie hashed: who reads the forge's files has none of them", forge="-", vault="it is nowhere",
      off=NO_SECRET, check="of a token only its hash is kept")  # fmt: skip
def test_rule_tokens_lie_hashed(own: Keep) -> Seen:
    home = own.broken_into("it is about the files of the embedded forge")
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("forge.db") for path in files)
    held_by = {path.name for path in files for who in (FOUNDER, FACTORY)
               if own.site.tokens[own.site.login(who)].encode() in path.read_bytes()}  # fmt: skip
    assert held_by == set()
    return Seen("-", "it is nowhere", NO_SECRET)


LOOKED = "cannot here: what the forge answers is looked at"


def page(words: str, test: str, vault: str, check: str, off: str = LOOKED) -> None:
    held(words, test, forge="blocks", vault=vault, off=off, check=check)


page("Only hosts that the forge is told of are served: a name that leads to this machine brings no browser in",
     f"{SIGN_IN}::test_another_host_name_is_not_served", "the request is refused", "the Host header is one of a list")
page("The cookie of a session goes along with no request from another site",
     "tests/unit/devforge/pages/test_small_parts.py::test_the_cookie_says_what_browsers_must_know",
     "it is not sent", "SameSite=Strict, HttpOnly", off="cannot here: a browser does it")  # fmt: skip
page("No page of the forge is shown inside another's, so that nobody approves what they do not see",
     f"{SIGN_IN}::test_every_answer_has_its_headers", "it is not shown", "frame-ancestors 'none' on every answer",
     off="cannot here: a browser does it")  # fmt: skip
page("Guessing a password is slowed down", f"{SIGN_IN}::test_guessing_is_slowed_down",
     "even the right one is refused for a minute", "wrong ones are counted for each account")  # fmt: skip
page("SVG and raw files are only looked at: nothing in them runs in the forge's name",
     "tests/integration/devforge/pages/test_code.py::test_raw_files_can_only_be_looked_at", "it does nothing",
     "nosniff, and a policy that makes a sandbox of it", off="cannot here: a browser does it")  # fmt: skip
page("refs/pull is the forge's own: nobody pushes there",
     "tests/integration/devforge/test_git.py::test_refs_outside_heads_and_tags", "the push is refused",
     "hidden refs are not taken", off="cannot here: the vault asks for the head that was reviewed besides")  # fmt: skip
held("What a reader does not see is shown to who approves",
     "tests/unit/devforge/pages/test_markdown.py::test_hidden_text_is_shown_where_people_decide",
     vault="it is shown, by its number", off="cannot: it is shown, nothing is decided by it",
     check="bodies of what is to be approved are shown with what they hide")  # fmt: skip
