"""Git: objects without a checkout, the git binary under a clean environment, compare-and-swap pushes, clones, packs, leases."""
