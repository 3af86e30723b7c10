#!/usr/bin/env python3
"""Copies the toolchain's static libswiftCore.a so that the linker may drop from it what libtamis.so never calls.

    trim_runtime.py OUT     writes OUT unless it is up to date, and prints its path; prints nothing where there is
                            nothing to trim (another object format, no static standard library)

The archive marks every public function as retained (SHF_GNU_RETAIN), as if each were called by name from outside; this
clears the mark on code and constants, and leaves it on the records by which the runtime finds types and conformances. It
also leaves out the unwind tables of the standard library's Swift code (half of all unwind tables in the result): its frames
keep the frame pointer, and no exception passes through them. The archive itself is not changed otherwise.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys

RETAIN, EXCLUDE = 0x200000, 0x80000000     # SHF_GNU_RETAIN, SHF_EXCLUDE
DROPPABLE = (b".text", b".rodata", b".data")


def trim(data, start, name):
    """Rewrites the section flags of the ELF64 object at `start` of `data`. -> sections changed"""
    if data[start:start + 6] != b"\x7fELF\x02\x01":
        return 0
    table, = struct.unpack_from("<Q", data, start + 0x28)
    size, count, names = struct.unpack_from("<HHH", data, start + 0x3A)
    first = start + table
    if count == 0:                         # more than 65 279 sections: the counts are in the first header
        count, = struct.unpack_from("<Q", data, first + 0x20)
    if names == 0xFFFF:
        names, = struct.unpack_from("<I", data, first + 0x28)
    strings = start + struct.unpack_from("<Q", data, first + names * size + 0x18)[0]
    changed = 0
    for at in range(first, first + count * size, size):
        offset, = struct.unpack_from("<I", data, at)
        flags, = struct.unpack_from("<Q", data, at + 8)
        section = data[strings + offset:data.index(b"\0", strings + offset)]
        new = flags & ~RETAIN if section.startswith(DROPPABLE) else flags
        if section == b".eh_frame" and name == b"Swift.o":
            new |= EXCLUDE
        if new != flags:
            struct.pack_into("<Q", data, at + 8, new)
            changed += 1
    return changed


def members(data):
    """(name, offset of the contents) of each member of an `ar` archive."""
    long_names, at = b"", 8
    while at + 60 <= len(data):
        name, size = bytes(data[at:at + 16]).rstrip(), int(data[at + 48:at + 58])
        if name == b"//":
            long_names = bytes(data[at + 60:at + 60 + size])
        elif name[:1] == b"/" and name[1:].isdigit():
            name = long_names[int(name[1:]):].split(b"\n", 1)[0]
        yield name.rstrip(b"/"), at + 60
        at += 60 + size + size % 2


def archive():
    """The toolchain's static standard library, or None."""
    told = subprocess.run(["swiftc", "-print-target-info", "-static-stdlib"], capture_output=True, text=True)
    if told.returncode != 0:
        return None
    for folder in json.loads(told.stdout)["paths"]["runtimeLibraryPaths"]:
        path = os.path.join(folder, "libswiftCore.a")
        if os.path.exists(path):
            return path
    return None


def main():
    out, source = os.path.abspath(sys.argv[1]), archive()
    if source is None:
        return
    with open(__file__, "rb") as file:
        stamp = f"{source} {os.stat(source).st_mtime_ns} {os.stat(source).st_size} {hashlib.sha256(file.read()).hexdigest()}"
    marker = out + ".from"
    if not (os.path.exists(out) and os.path.exists(marker) and open(marker, encoding="utf-8").read() == stamp):
        with open(source, "rb") as file:
            data = bytearray(file.read())
        if data[:8] != b"!<arch>\n" or not sum(trim(data, start, name) for name, start in members(data)):
            return
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with open(out + ".new", "wb") as file:
            file.write(data)
        os.replace(out + ".new", out)
        with open(marker, "w", encoding="utf-8") as file:
            file.write(stamp)
    print(out)


if __name__ == "__main__":
    main()
