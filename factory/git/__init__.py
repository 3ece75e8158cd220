"""Git: objects without a checkout, the git binary run clean, compare-and-swap pushes, clones, packs, leases."""
