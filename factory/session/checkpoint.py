"""Checkpoints: what a session committed so far, under ``refs/factory/wip/<run>`` of the project repo.

They are taken in a thread of their own: a slow forge must not keep anybody from watching the session. A lineage of
attempts has one: the checkpoint a run was resumed from goes when its own takes its place. The last one goes with the
push of the branch (``daemon.ports``), or at the end of a run after which nobody will go on from it.
"""

from __future__ import annotations

import json
import threading
import time

from factory.errors import FactoryError, RefMoved
from factory.git.transport import RefUpdate, Remote, ls_remote, push
from factory.git.values import Signature
from factory.git.view import View
from factory.process.spawn import StartFailed
from factory.runs.model import Cause
from factory.runs.retry import RULES
from factory.runs.spec import SessionSpec
from factory.session.box import Box
from factory.session.checkout import WIP
from factory.session.going import Going
from factory.session.leave import MAX_PACK, take
from factory.session.untrusted import Unreadable, digest_plain, read_plain

HEAD_BYTES = 4096


class Checkpoints:
    """The checkpoints of one run. ``pulse`` as often as you like; it is due at most every ``checkpoint_s`` / 2."""

    def __init__(self, going: Going, view: View, identity: Signature) -> None:
        self._going = going
        self._view = view
        self._identity = identity
        self._ref = f"{WIP}{going.spec.run}"
        self._seen: object = None
        self._next = 0.0
        self._thread: threading.Thread | None = None
        self.saved: str | None = None
        """The commit the remote holds."""
        self._before: str | None = going.spec.resume

    def pulse(self, box: Box) -> None:
        """Start saving what is new, if it is time and nothing is being saved; returns at once."""
        now = time.monotonic()
        if now < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        if not _has_news(box, self._seen):
            return
        self._next = now + self._going.ports.checkpoint_s / 2
        self._thread = threading.Thread(target=self._save, args=(box,), name="checkpoint", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Wait for one that is under way."""
        if self._thread is not None:
            self._thread.join()

    def end(self, box: Box | None, cause: Cause | None, *, has_head: bool) -> None:
        """After the run: save the last state for the next attempt, or forget what nobody will go on from."""
        if cause is not None and RULES[cause].same_round:
            self.settle()
            if box is not None and _has_news(box, self._seen):
                self._save(box)
        elif not has_head and not (cause is Cause.CANCELLED and self._thread is not None and self._thread.is_alive()):
            # Cancelled, it waits for nothing: a checkpoint too many is a lesser evil than a run that does not end.
            self.settle()
            self._forget()

    def _save(self, box: Box) -> None:
        log = self._going.log.line
        try:
            seen = _stamp(box)
            if not _is_whole(box):
                return  # it is being written: the next pulse finds it finished
            self._seen = seen
            quarantine = self._going.folders.cache / "checkpoint.git"
            left = take(box, quarantine, self._going.spec, self._identity)
            if left.head is None:
                if left.refusals:
                    log(f"no checkpoint this time: {'; '.join(left.refusals)}")
                return
            updates = [RefUpdate(self._ref, left.head, self.saved), *self._removals()]
            try:
                push(quarantine, self._going.ports.project_remote, updates)
            except RefMoved:
                self._learn()
                updates = [RefUpdate(self._ref, left.head, self.saved), *self._removals()]
                push(quarantine, self._going.ports.project_remote, updates)
            self.saved, self._before = left.head, None
            log(f"checkpoint: {left.commits} commits saved as {self._ref}")
        except (FactoryError, StartFailed, Unreadable, OSError) as error:
            log(f"no checkpoint this time: {error}")

    def _removals(self) -> list[RefUpdate]:
        """The checkpoint this run went on from, while it is still there."""
        if self._before is None:
            return []
        there = ls_remote(self._going.ports.project_remote, (WIP,))
        return [RefUpdate(ref, None, oid) for ref, oid in there.items() if oid == self._before and ref != self._ref]

    def _learn(self) -> None:
        """What the remote really holds: an earlier process of this run may have saved, somebody else removed."""
        self.saved = ls_remote(self._going.ports.project_remote, (self._ref,)).get(self._ref)

    def _forget(self) -> None:
        if self.saved is None and self._before is None:
            return
        try:
            gone = [RefUpdate(self._ref, None, self.saved)] if self.saved is not None else []
            push(self._view.path, self._going.ports.project_remote, [*gone, *self._removals()])
        except (FactoryError, OSError) as error:
            self._going.log.line(f"the checkpoint {self._ref} stays: {error}")


def checkpoints_of(spec: SessionSpec, remote: Remote) -> list[RefUpdate]:
    """The removal of what was saved of this run and of the attempt it went on from. Raises ForgeError."""
    there = ls_remote(remote, (WIP,))
    mine = f"{WIP}{spec.run}"
    return [RefUpdate(ref, None, oid) for ref, oid in there.items() if ref == mine or oid == spec.resume]


def _stamp(box: Box) -> object:
    """What is there now: another value as soon as another pair was written."""
    head = read_plain(box.out / "head.json", HEAD_BYTES)
    try:
        pack = (box.out / "work.pack").lstat()
    except FileNotFoundError:
        return head, None
    return head, pack.st_ino, pack.st_size, pack.st_mtime_ns


def _has_news(box: Box, seen: object) -> bool:
    try:
        return (stamp := _stamp(box)) != seen and stamp != (None, None)
    except (Unreadable, OSError):
        return False


def _is_whole(box: Box) -> bool:
    """Whether ``head.json`` speaks of this ``work.pack``: they are replaced one after the other. Raises Unreadable."""
    try:
        told = json.loads(read_plain(box.out / "head.json", HEAD_BYTES) or b"{}")
        digest = told["pack_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return True  # garbage is for the gate to name
    return digest is None or digest == digest_plain(box.out / "work.pack", MAX_PACK)
