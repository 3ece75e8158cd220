"""The vault's runner: one sandbox per run, a broker that holds the secrets, effects that the ledger fences.

Not part of the trusted part: it is handed orders whose STARTED stands on the ledger, and can do no more than they say.
"""
