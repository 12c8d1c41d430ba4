"""failoverctl: asks the daemon over its control socket, and shows the answer. It decides and changes nothing."""
