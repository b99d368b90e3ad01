"""The kernel's side: libfuse's session, the kernel's operations, mountpoints. It makes no decisions."""
