"""``factory doctor``: this machine, this deployment, the forge and the projects, each looked at and some attacked."""
