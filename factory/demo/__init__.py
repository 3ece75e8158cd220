"""``factory demo``: the whole loop on an example project, judged by what the forge and git say afterwards."""
