"""Access to the operating system: processes, locks, threads, files, inotify. It must not know what failoverd does."""
