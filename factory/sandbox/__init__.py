"""Confinement of agents' processes: bubblewrap by default, ``none`` only by name, and the proofs that the walls
hold.
"""
