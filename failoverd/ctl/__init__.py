"""failoverctl: sends requests to the daemon's control socket and shows the answers. It must not decide anything."""
