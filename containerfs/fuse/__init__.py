"""The kernel's side: the FUSE binding, operations as it calls them, and mount points. It translates, and decides nothing."""
