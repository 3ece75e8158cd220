"""Git objects and refs of a (bare) repo without a checkout; the only package of the project that uses pygit2.

Every function takes the repo's path, opens it, does one thing and closes it: nothing is cached, so the functions are
safe from several threads and always see what other processes wrote. A *rev* is anything ``git rev-parse`` takes; pass
full ref names or object ids where a tag could shadow a branch. Object ids are 40 hex digits. All errors are
``GitFailed`` (``RefMoved`` for a lost compare-and-swap).

The user's and the system's git configuration is never read (libgit2 looks in more places than HOME), so results do
not depend on the machine.
"""

from __future__ import annotations

from factory.git.objects.diffs import diff_names, diff_paths, diff_text, patch_digest
from factory.git.objects.history import ahead_behind, commit_info, count_commits, is_ancestor, log, merge_base
from factory.git.objects.merging import conflicts, copy_commits, merge_commits, merge_trees, rewrite_commits
from factory.git.objects.reading import (
    exists,
    find_entry,
    list_tree,
    object_kind,
    read_blob,
    read_file,
    resolve_commit,
    tag_message,
    uncommitted,
)
from factory.git.objects.refs import (
    create_ref,
    delete_ref,
    init_bare,
    is_repo,
    list_refs,
    read_head,
    read_ref,
    ref_rows,
    set_head,
    update_ref,
)
from factory.git.objects.writing import build_commit, build_tag, build_tree, commit_tree, write_blob
from factory.git.values import (
    EMPTY_TREE,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SUBMODULE,
    MODE_SYMLINK,
    MODE_TREE,
    ZERO,
    CommitInfo,
    MergeResult,
    NameChange,
    PathChange,
    RefRow,
    Signature,
    TreeEntry,
)

__all__ = [
    "EMPTY_TREE",
    "MODE_EXECUTABLE",
    "MODE_FILE",
    "MODE_SUBMODULE",
    "MODE_SYMLINK",
    "MODE_TREE",
    "ZERO",
    "CommitInfo",
    "MergeResult",
    "NameChange",
    "PathChange",
    "RefRow",
    "Signature",
    "TreeEntry",
    "ahead_behind",
    "build_commit",
    "build_tag",
    "build_tree",
    "commit_info",
    "commit_tree",
    "conflicts",
    "copy_commits",
    "count_commits",
    "create_ref",
    "delete_ref",
    "diff_names",
    "diff_paths",
    "diff_text",
    "exists",
    "find_entry",
    "init_bare",
    "is_ancestor",
    "is_repo",
    "list_refs",
    "list_tree",
    "log",
    "merge_base",
    "merge_commits",
    "merge_trees",
    "object_kind",
    "patch_digest",
    "read_blob",
    "read_file",
    "read_head",
    "read_ref",
    "ref_rows",
    "resolve_commit",
    "rewrite_commits",
    "set_head",
    "tag_message",
    "uncommitted",
    "update_ref",
    "write_blob",
]
