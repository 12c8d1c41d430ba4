"""failoverd's figures for Prometheus: counted, collected, and handed out at a loopback port or in a file."""
