"""A release on a real forge: made once, found again by object and key, and never taken for done on a name alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient
from factory.sandbox.bubblewrap import Bubblewrap
from factory.testing.forge_process import ForgeProcess
from factory.vault.ports import Order
from factory.vault.run.release import mark
from factory.vault.run.tools import Work
from tests import given_forge
from tests.integration.vault.attacks.register import Seen, rule
from tests.integration.vault.run.conftest import Tried
from tests.integration.vault.run.house import House, Outside, formula, probe, shipped, token
from tests.integration.vault.run.shop import REPO, Shop, view_of

pytestmark = pytest.mark.needs_bwrap


FORGES = ["embedded", *(["real"] if os.environ.get("FACTORY_TEST_FORGEJO") else [])]


@pytest.fixture(scope="module", params=FORGES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """On the embedded forge, and on the real one that the environment names."""
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        if request.param == "real":
            url = given_forge.address()
            admin = ForgejoClient(url, basic=given_forge.admin())
        else:
            process = stack.enter_context(ForgeProcess.start(folder / "forge"))
            url, admin = process.url, ForgejoClient(process.url, uds=process.admin_socket)
        made = Shop(url, admin, folder)
        stack.callback(made.close)
        yield made


@pytest.fixture
def house(tmp_path: Path, shop: Shop) -> Iterator[House]:
    with Outside().serving() as outside:
        view = view_of(shop, tmp_path)
        made = House(tmp_path, Tried(), outside, project=view, forge=lambda: (shop.bot, "release-bot"))  # type: ignore[arg-type]
        yield made
        made.close()


def order(house: House, shop: Shop, tag: str, **params: object) -> Order:
    given = house.order(shipped("release"), tag=tag, commit=shop.commit, id=f"2026-11-28-release-{tag}", **params)
    return replace(given, idem_key=hashlib.sha256(tag.encode()).hexdigest())


def key(of: Order) -> str:
    return mark(Work(of, None, None, None, None))  # type: ignore[arg-type]


def test_it_is_tagged_released_and_uploaded_once(house: House, shop: Shop) -> None:
    asked = order(house, shop, "v1.0", title="One", notes=("What is new.", "# And more"))
    outcome = house.run(asked)
    assert (outcome.state, outcome.words) == ("done", "done"), house.log(asked)
    tag, release = shop.bot.tag(REPO, "v1.0"), shop.bot.release_of(REPO, "v1.0")
    assert tag is not None
    assert release is not None
    assert (tag.commit, key(asked) in tag.message) == (shop.commit, True)
    assert (release.title, release.author.login) == ("One", "release-bot")
    assert release.body.startswith("What is new.\n\n# And more\n\nFactory-Action: 2026-11-28-release-v1.0\n")
    data = shop.asset("v1.0")
    sha = hashlib.sha256(data).hexdigest()
    assert outcome.result == {
        "tag": "v1.0", "commit": shop.commit, "object": tag.oid, "release": str(release.id), "files": "6",
        "asset": "tally-1.0.tar.gz", "sha256": sha, "size": str(len(data)),
    }  # fmt: skip
    assert house.run(probe(asked)).state == "applied"
    # Again, as after a crash before DONE: nothing more is made.
    retry = replace(asked, run=token())
    again = house.run(retry)
    assert (again.state, again.result) == ("done", outcome.result)
    assert len(shop.bot.release_of(REPO, "v1.0").assets) == 1  # type: ignore[union-attr]
    assert "let through" not in house.log(retry)


def test_the_archive_is_the_commits_bytes_and_nothing_of_its_attributes(house: House, shop: Shop) -> None:
    asked = order(house, shop, "v1.1")
    assert house.run(asked).state == "done", house.log(asked)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(shop.asset("v1.1")))) as archive:
        names = archive.getnames()
        assert names == ["tally-1.1", "tally-1.1/.gitattributes", "tally-1.1/link", "tally-1.1/run.sh",
                         "tally-1.1/tally", "tally-1.1/tally/__init__.py", "tally-1.1/v.txt"]  # fmt: skip
        assert archive.extractfile("tally-1.1/v.txt").read() == b"$Format:%H$\n"  # type: ignore[union-attr]
        assert archive.getmember("tally-1.1/run.sh").mode == 0o755
        assert archive.getmember("tally-1.1/link").linkname == "tally/__init__.py"
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in archive} == {
            (0, 0, "", int(shop.git("log", "-1", "--format=%ct", shop.commit)))
        }


@pytest.mark.parametrize("cut", ["create_release", "add_asset"])
def test_what_was_cut_off_is_seen_and_completed(house: House, shop: Shop, cut: str) -> None:
    asked = order(house, shop, f"v2-{cut.replace('_', '-')}")

    class Cut:
        def __getattr__(self, name: str) -> object:
            if name == cut:
                raise ConnectionError("cut off")
            return getattr(shop.bot, name)

    broken = house.run(asked, runner=house.runner(forge=lambda: (Cut(), "release-bot")))
    assert broken.state == "unclear"
    whole = house.runner()
    looked = house.run(probe(asked), runner=whole)
    assert looked.state == "absent"
    assert ("upload_asset" in looked.words, "create_tag" in looked.words) == (True, False)
    assert house.run(replace(asked, run=token(), epoch=3), runner=whole).state == "done"
    assert house.run(probe(asked), runner=whole).state == "applied"


def test_a_tag_of_that_name_by_others_is_neither_taken_nor_touched(house: House, shop: Shop) -> None:
    shop.dev.create_tag(REPO, "v3", commit=shop.commit, message="mine")
    asked = order(house, shop, "v3")
    outcome = house.run(asked)
    assert (outcome.state, "not of this action" in outcome.words) == ("clean", True)
    assert house.run(probe(asked)).state == "absent"
    assert shop.bot.tag(REPO, "v3").message.strip() == "mine"  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", ["light", "other commit", "other key"])
def test_only_object_and_key_together_count(house: House, shop: Shop, wrong: str) -> None:
    """Taken on its name, a planted tag would make the vault believe that an approved release happened."""
    tag = f"v4-{wrong.replace(' ', '-')}"
    asked = order(house, shop, tag)
    commit = shop.push("Another") if wrong == "other commit" else shop.commit
    if wrong == "light":
        shop.dev.send("POST", f"/repos/{REPO}/tags", doing="x", body={"tag_name": tag, "target": commit})
    else:
        shop.dev.create_tag(REPO, tag, commit=commit, message="x" if wrong == "other key" else key(asked))
    assert house.run(probe(asked)).state == "absent"
    outcome = house.run(asked)
    assert (outcome.state, "not of this action" in outcome.words) == ("clean", True)


@rule("A probe looks where no account of a role can write: tags are for a project's people and the account of releases",
      forge="blocks", vault="it is not taken for done", off="it happens: a planted tag is taken for the action's own",
      check="a rule of the forge about the project's tags")  # fmt: skip
def test_rule_no_role_writes_where_a_probe_looks(house: House, shop: Shop) -> Seen:
    """The key can be worked out by whoever can read the ops repo, so the tag can be told from a planted one by nothing
    but who may make one."""
    asked = replace(order(house, shop, "p1"), formula=formula(letter="C", effects="create_tag"))

    def planted(tag: str) -> str:
        of = replace(asked, action=replace(asked.action, params={**asked.action.params, "tag": tag}))
        tries = [
            lambda: shop.dev.create_tag(REPO, tag, commit=shop.commit, message=key(of)),
            lambda: shop.dev.create_release(REPO, tag, title="t", notes=key(of), target=shop.commit),
        ]
        for plant in tries:
            with suppress(ForgeRefused):
                plant()
        return house.run(probe(of)).state

    shop.ann.set_tag_rule(REPO, "p*", ["ann", "release-bot"])
    held, free = planted("p1"), planted("free-1")
    assert shop.bot.tag(REPO, "p1") is None
    assert (held, free) == ("absent", "applied")
    return Seen("blocks", "it is not taken for done", "it happens: a planted tag is taken for the action's own")


def test_a_release_published_by_others_with_the_key_does_not_count(house: House, shop: Shop) -> None:
    asked = order(house, shop, "v5")
    shop.bot.create_tag(REPO, "v5", commit=shop.commit, message=f"t\n\n{key(asked)}")
    shop.dev.create_release(REPO, "v5", title="t", notes=key(asked), target=shop.commit)
    assert house.run(probe(asked)).words == "not there: create_release, upload_asset"
    assert house.run(asked).state == "clean"


def test_another_file_of_that_name_is_not_taken_for_ours(house: House, shop: Shop) -> None:
    asked = order(house, shop, "v6")
    assert house.run(asked).state == "done"
    release = shop.bot.release_of(REPO, "v6")
    assert release is not None
    shop.dev.ask("DELETE", f"/repos/{REPO}/releases/{release.id}/assets/{release.assets[0].id}", doing="x")
    shop.dev.add_asset(REPO, release, "tally-6.tar.gz", b"evil")
    assert house.run(probe(asked)).words == "not there: upload_asset"
    outcome = house.run(replace(asked, run=token()))
    assert (outcome.state, "not the file that was built here" in outcome.words) == ("clean", True)


def test_a_tag_rule_that_leaves_us_out_is_told_and_nothing_is_done(house: House, shop: Shop) -> None:
    shop.ann.set_tag_rule(REPO, "w*", ["ann"])
    outcome = house.run(order(house, shop, "w1"))
    assert (outcome.state, "not allowed to create protected tag" in outcome.words) == ("clean", True)


def test_a_commit_that_was_never_merged_is_not_released(house: House, shop: Shop) -> None:
    shop.git("checkout", "-q", "-b", "side")
    side = shop.push("Not reviewed", branch="side")
    shop.git("checkout", "-q", "main")
    asked = replace(order(house, shop, "v7"))
    asked = replace(asked, action=replace(asked.action, params={**asked.action.params, "commit": side}))
    outcome = house.run(asked)
    assert (outcome.state, "is on none of main" in outcome.words) == ("clean", True)
    named = replace(asked, run=token(), rule=replace(asked.rule, settings={"branches": ["side"]}))
    assert house.run(named).state == "done", house.log(named)


def test_the_fence_is_asked_before_each_of_the_three(house: House, shop: Shop) -> None:
    done: list[str] = []

    class Told:
        def __getattr__(self, name: str) -> object:
            if name.startswith(("create", "add")):
                done.append(f"{name} after {len(house.asked)}")
            return getattr(shop.bot, name)

    runner = house.runner(forge=lambda: (Told(), "release-bot"))
    assert house.run(order(house, shop, "v8"), runner=runner).state == "done"
    assert done == ["create_tag after 2", "create_release after 3", "add_asset after 4"]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_fenced_in_the_middle_it_goes_no_further(house: House, shop: Shop, after: int) -> None:
    house.live = lambda order: len(house.asked) <= after
    asked = order(house, shop, f"v9-{after}")
    outcome = house.run(asked)
    assert outcome.state == ("clean" if after == 1 else "unclear")
    assert (shop.bot.tag(REPO, f"v9-{after}") is not None) == (after > 1)
    assert (shop.bot.release_of(REPO, f"v9-{after}") is not None) == (after > 2)
    assert "no longer says" in outcome.words


def test_as_the_bare_minimum_the_sandbox_is_real(house: House) -> None:
    assert isinstance(house.sandbox, Bubblewrap)
