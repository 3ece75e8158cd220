"""Keys of the vault: secrets encrypted with age, the dispatcher's own keys, admins' signatures.

Not of the trusted part: it decides nothing. What it hands out, it hands out only for an order that the trusted part
made; a signature only adds a condition.
"""
