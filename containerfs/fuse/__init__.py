"""The kernel's side: the FUSE binding, operations as it calls them, mount points. It decides nothing."""
