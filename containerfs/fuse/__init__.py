"""The kernel's side: libfuse's session, operations as the kernel asks for them, mount points. It decides nothing."""
