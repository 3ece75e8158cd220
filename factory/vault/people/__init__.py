"""What people meet of the vault: computed facts, requests, words for refusals. Nothing here decides or starts."""
