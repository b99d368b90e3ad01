"""``python -m containerfs`` is ``containerfs``."""

from containerfs.cli import main

main()
