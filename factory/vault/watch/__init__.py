"""What watches for the vault: the forge read with the dispatcher's token, the sentinel, the dispatcher's own process.

Nothing here decides about an action: wrong answers can make the vault refuse, or wait, and no more.
"""
