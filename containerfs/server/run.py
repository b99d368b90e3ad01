"""Runs a server: listens, checks the keys, prints the address, and serves in this process or in several."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable

from containerfs.server.app import PREFIX
from containerfs.server.auth import Authenticator, Everyone, KeyFile, ThisMachine
from containerfs.server.listener import ListenError, is_loopback, listening, url
from containerfs.server.observation import Counts, access_log
from containerfs.server.options import KEYS_IN_DATABASE, ServerOptions
from containerfs.server.serving import Serving, serve
from containerfs.server.storage.metadata_store import MetadataStore
from containerfs.server.stored_keys import StoredKeys
from containerfs.server.tally import Tally
from containerfs.server.workers import Tie, supervise

_SWITCH_INTERVAL_S = 0.0005
"""How long a thread that returns from the kernel waits for the interpreter while the event loop is busy, in seconds.
The threads of SQLite and those that remove files wait for every row and file: with Python's default of 5 ms, 500
files took 2.8 s instead of 0.6 s."""


def run(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, or, as the child of a mount, until standard input ends.

    Raises:
        ListenError: if the address cannot be used, or needs API keys.
        KeyFileError: if the key file cannot be read.
        StoreError: if the store cannot be opened.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    os.umask(0o077)  # a umask that takes rights from the owner would create files that cannot be opened again
    _log(options)
    authenticator = _authenticator(options)
    with (
        listening(options.host, options.port, options.uds) as listener,
        _listening_for_metrics(options) as metrics_listener,
    ):
        _serve(options, authenticator, listener, metrics_listener)
    _forget_unread_log()


def _forget_unread_log() -> None:
    """Drop log lines that nobody reads any more, so that the process does not end with an error. Source: Python's note
    on SIGPIPE."""
    try:
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _log(options: ServerOptions) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="containerfs serve: %(message)s")
    if options.access_log:
        lines = logging.StreamHandler(sys.stderr)
        lines.setFormatter(logging.Formatter("%(message)s"))
        access_log.addHandler(lines)
        access_log.setLevel(logging.INFO)
        access_log.propagate = False


def _authenticator(options: ServerOptions) -> Callable[[MetadataStore], Authenticator]:
    of_this_machine = options.uds is not None or is_loopback(options.host)
    if options.api_keys == KEYS_IN_DATABASE:
        return lambda metadata: StoredKeys(metadata, guards_operations=not of_this_machine)
    authenticator = _without_database(options, of_this_machine)
    return lambda _: authenticator


def _without_database(options: ServerOptions, of_this_machine: bool) -> Authenticator:
    if options.api_keys is not None:
        key_file = KeyFile(options.api_keys, guards_operations=not of_this_machine)
        key_file.keys()
        return key_file
    if not of_this_machine:
        raise ListenError(f"refusing to listen on {options.host} without API keys: give a key file with --api-keys")
    return ThisMachine(options.allowed_hosts) if options.uds is None else Everyone()


def _listening_for_metrics(options: ServerOptions) -> contextlib.AbstractContextManager[socket.socket | None]:
    return listening(*options.metrics, None) if options.metrics else contextlib.nullcontext()


def _serve(
    options: ServerOptions,
    authenticator: Callable[[MetadataStore], Authenticator],
    listener: socket.socket,
    metrics_listener: socket.socket | None,
) -> None:
    tally = Tally(options.workers)
    serving = Serving(options, authenticator, Counts(tally), listener, metrics_listener)
    address = url(listener, PREFIX)

    def announce() -> None:
        print(f"containerfs serve: listening on {address}", flush=True)

    def work(tie: Tie) -> None:
        tally.take(tie.number)
        serve(serving, tie.ready, tie.lifeline)

    if options.workers > 1:
        supervise(options.workers, work, announce, serving.stop_accepting)
    else:
        serve(serving, announce, sys.stdin.fileno() if options.until_stdin_ends else None)
