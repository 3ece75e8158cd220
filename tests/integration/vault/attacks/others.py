"""Attacks that tests of other folders carry out: importing them, or naming them here, declares their rows."""

from __future__ import annotations

from tests.integration.loop import test_rules as in_the_daemon
from tests.integration.users import test_two_users as two_users
from tests.integration.vault.attacks.register import elsewhere, held
from tests.integration.vault.run import test_attacks, test_attacks_git
from tests.integration.vault.run import test_release as released
from tests.integration.vault.run import test_rules as of_runs
from tests.integration.vault.watch import test_attacks as watch
from tests.integration.vault.watch import test_mirror as lost
from tests.integration.vault.watch import test_mirroring as mirrored
from tests.integration.vault.watch import test_rules as on_main
from tests.integration.vault.watch import test_rules_anew as anew
from tests.integration.vault.watch import test_rules_apart as apart
from tests.integration.vault.watch import test_rules_keys as of_keys
from tests.integration.vault.watch import test_rules_word as by_word

MODULES = (test_attacks, test_attacks_git, watch, of_runs, on_main, in_the_daemon, anew, by_word, lost, mirrored, apart,
           of_keys, two_users, released)  # fmt: skip
CRASHES = "tests/integration/vault/test_crash_points.py"

elsewhere(48, "A dispatcher dies at any point between a claim and its result", f"{CRASHES}::test_one_row_of_the_matrix",
          vault="it happens once, or a person is asked", off="it happens twice",
          check="what started is never started again before a fence and a probe")  # fmt: skip
elsewhere(52, "A dispatcher that slept goes on after somebody else took over",
          f"{CRASHES}::test_without_the_fence_the_effect_comes_twice", vault="nothing is done", off="it happens twice",
          check="an effect asks the ledger first; a start that comes too late is void")  # fmt: skip
elsewhere(65, "Entries that do not follow, evidence that is not true, signatures by other keys",
          "tests/integration/vault/test_audit.py::test_attack_65_the_evidence_is_not_true",
          vault="the audit names the entry", off="cannot: a second reader of its own finds the same",
          check="the whole ledger is read again, with all it names")  # fmt: skip

held("Set-up: actions off, glob rules, GENESIS, and all of it read back",
     "tests/integration/setup/test_founding.py::test_the_first_set_up_pins_what_everything_is_judged_by",
     vault="the first entry names forge, repo, accounts, people, policy and keys",
     off="cannot: without a GENESIS nothing is ever verified",
     check="the ledger begins with what all is judged by")  # fmt: skip
held("KEY_ADD and KEY_REVOKE say what the file at their TRUST's commit says: one too many or one missing is a fault",
     "tests/integration/vault/test_audit_keys.py::test_entries_about_keys_are_what_the_file_says",
     vault="the audit names the entry", off="cannot: a second reader of its own finds the same",
     check="the file is read again at the commit of each TRUST")  # fmt: skip
held("Taking a run's lock proves it dead, and so does a new boot; nothing else does",
     "tests/integration/vault/run/test_lives.py::test_a_stopped_dispatcher_is_not_dead_until_it_is_killed",
     vault="it counts as alive", off="cannot: what is only stopped holds its lock",
     check="the lock is inherited by the run's whole tree")  # fmt: skip
held("What a run may ask for is resolved outside; private addresses and the forge are never asked",
     "tests/integration/vault/run/test_broker.py::test_private_addresses_are_refused", vault="its request is refused",
     off="cannot here: attack 30 shows the forge asked without it",
     check="names are resolved by the broker, and every address is looked at")  # fmt: skip
held("The controlled set is a list in code: no file of it ever goes the direct way",
     "tests/unit/ops/test_routes.py::test_the_controlled_set_is_never_direct", forge="blocks",
     vault="a person is asked", off="cannot: there is no setting for it",
     check="one table in code says which way a path goes; it also writes what the forge lets through")  # fmt: skip
held("What the broker asks outside is TLS to the very name that was asked for, whose certificate it wants",
     "tests/integration/vault/run/test_broker.py::test_outside_it_is_tls_to_the_name_that_was_asked_for",
     vault="its request is refused",
     off="cannot: the broker speaks TLS itself, with the name that policy and formula have",
     check="server name and certificate are those of the allowed host")  # fmt: skip
held("What a session asks outside names in its handshake the host that is allowed, on port 443",
     "tests/integration/session/test_egress.py::test_a_handshake_for_another_host_gets_nowhere",
     vault="it gets nowhere", off="cannot here: that is the way out of sessions; the vault's runs have the broker",
     check="the name in the handshake is compared with the host that was asked for")  # fmt: skip
held("After a key was revoked the secrets themselves are to be rotated, and that is said",
     "tests/unit/vault/keys/test_changing.py::test_who_is_dropped_reads_no_later_version_and_what_follows_is_said",
     vault="who was dropped reads no later version", off="cannot: what was once readable stays so to who has it",
     check="every secret is encrypted anew, and the change names those whose values were known")  # fmt: skip
held("After a restore FREEZE and RESTORED are appended, by an admin's word",
     "tests/integration/vault/test_settling.py::test_an_older_ledger_counts_again_and_voids_approvals",
     vault="every approval before it is void", off="cannot here: the two rules of what a restore voids show it",
     check="an older ledger counts again only with these entries on it")  # fmt: skip
held("What a person or a role wants changed is proposed by the factory's account, which says who asked",
     "tests/integration/loop/test_rules.py::test_one_approval_of_a_solo_admin_changes_factory_toml",
     vault="a Requested-by trailer names them", off="cannot: it is said, nothing is decided by it",
     check="accounts of roles cannot write the ops repo themselves")  # fmt: skip
held("The asker's words cannot become markup, a mention or a link of what waits for a person",
     "tests/unit/vault/run/test_human.py::test_the_askers_words_cannot_become_markup", vault="it is only itself",
     off="cannot: it is shown, nothing is decided by it", check="all that markup is made of is escaped")  # fmt: skip
held("No account of the set-up but that of releases makes, moves or deletes a tag of the project",
     "tests/contract/test_setup.py::test_no_account_but_that_of_releases_makes_tags", forge="blocks",
     vault="the tags are what they were", check="the rule about tags that set-up makes; where a project keeps its own "
     "rules, set-up proposes it, and doctor says so until it is there",
     off="cannot here: the row of the probe shows what a planted tag does")  # fmt: skip
held("A session's socket is its identity at the gateway, its token the second factor",
     "tests/integration/gateway/test_replay.py::test_the_socket_is_the_identity_and_the_token_the_second_factor",
     vault="its request is refused",
     off="cannot here: that is the gateway of sessions; the broker's row shows it without",
     check="the token that comes with a request is the one of the run whose socket it is")  # fmt: skip
held("What others wrote stands in the dashboard as words: no markup, link, image, mention or marker of its own",
     "tests/unit/ops/test_dashboard.py::test_words_of_others_cannot_break_out", vault="they are only words",
     off="it happens: they break out",
     check="all that markup is made of is escaped, and links are to the configured forge")  # fmt: skip
