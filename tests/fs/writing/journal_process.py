"""A process that has a journal open, for tests of what several mounts share: ``python -m … DIRECTORY PATH...``.

It notes a file at each path, with the path as its content, says ``ready``, and waits for a word: ``put PATH`` notes
another, ``end`` closes the journal. It dies as it is killed.
"""

import sys
from pathlib import Path

from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Entry


def note(journal: Journal, path: str) -> int:
    """Note a closed file at a path of the container ``box``, with its path as its content; returns its row."""
    staged = journal.stage()
    staged.write(memoryview(path.encode()), 0)
    with journal.transaction() as tx:
        sequence = tx.put(Entry("cntr_1", "box", path, staged.path.name))
    staged.promise()
    staged.rest()
    return sequence


def main(directory: str, *paths: str) -> None:
    journal = Journal(Path(directory))
    for path in paths:
        note(journal, path)
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, path = line.strip().partition(" ")
        if word == "end":
            journal.close()
            return
        note(journal, path)
        print("noted", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
