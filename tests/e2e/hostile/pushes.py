"""Writes pushes that no git client makes, as the bodies of git-receive-pack requests: one file a
case in the folder that the first argument names. Pack and tree formats: gitformat-pack(5)."""
import hashlib
import pathlib
import struct
import sys
import zlib

FOLDER = pathlib.Path(sys.argv[1])
KINDS = {"commit": 1, "tree": 2, "blob": 3}
NULL = b"0" * 40


def name(kind, content):
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content)


def entry(kind, content):
    size = len(content)
    head = [KINDS[kind] << 4 | size & 15]
    size >>= 4
    while size:
        head[-1] |= 0x80
        head.append(size & 0x7F)
        size >>= 7
    return bytes(head) + zlib.compress(content)


def pack(objects, count=None):
    body = b"PACK" + struct.pack(">II", 2, len(objects) if count is None else count)
    body += b"".join(entry(kind, content) for kind, content in objects)
    return body + hashlib.sha1(body).digest()


def line(text):
    return b"%04x" % (len(text) + 4) + text


def tree(*entries):
    return b"".join(b"%s %s\0" % (mode, path) + name(kind, content).digest() for mode, path, kind, content in entries)


def commit(root, message=b"m"):
    who = b"a <a@example.test> 1700000000 +0000"
    return b"tree %s\nauthor %s\ncommitter %s\n\n%s\n" % (name("tree", root).hexdigest().encode(), who, who, message)


def request(tip, packed, references=(b"refs/heads/main",)):
    first, *rest = references
    lines = [line(b"%s %s %s\0 report-status side-band-64k agent=hostile" % (NULL, tip, first))]
    lines += [line(b"%s %s %s" % (NULL, tip, reference)) for reference in rest]
    return b"".join(lines) + b"0000" + packed


def push(root, others, message=b"m", **options):
    top = commit(root, message)
    objects = [("commit", top), ("tree", root), *others]
    return name("commit", top).hexdigest().encode(), pack(objects), options


def write(case, body):
    (FOLDER / case).write_bytes(body)


small = ("blob", b"x\n")
plain = tree((b"100644", b"f", *small))
tip, packed, _ = push(plain, [small])
write("truncated", request(tip, packed[: len(packed) // 2]))
write("without-checksum", request(tip, packed[:-20]))
write("garbage", request(tip, hashlib.sha512(b"garbage").digest() * 1000))
write("flipped", request(tip, packed[:40] + bytes([packed[40] ^ 0xFF]) + packed[41:]))
write("count", request(tip, pack([("commit", commit(plain))], count=0xFFFFFFFF)))
write("length-0003", b"0003" + request(tip, packed))
write("length-zzzz", b"zzzz" + request(tip, packed))
write("missing", request(tip, pack([("commit", commit(plain))])))
write("references", request(tip, packed, [b"refs/heads/main"] + [b"refs/heads/b%d" % number for number in range(9999)]))

for case, hostile in {
    "tree-dotgit": tree((b"100644", b".git", *small)),
    "tree-dotgit-case": tree((b"100644", b".GIT", *small)),
    "tree-dotdot": tree((b"40000", b"..", "tree", plain)),
    "tree-slash": tree((b"100644", b"a/b", *small)),
    "tree-duplicate": tree((b"100644", b"f", *small), (b"100644", b"f", *small)),
    "tree-gitmodules": tree((b"120000", b".gitmodules", *small)),
}.items():
    tip, packed, _ = push(hostile, [small, ("tree", plain)])
    write(case, request(tip, packed))

evil = ("blob", b'[submodule "x"]\n\tpath = x\n\turl = -uevil\n')
tip, packed, _ = push(tree((b"100644", b".gitmodules", *evil)), [evil])
write("gitmodules-option", request(tip, packed))

tip, packed, _ = push(plain, [small], message=b"m" * 300_000_000)
write("message", request(tip, packed))

zeros = ("blob", bytes(250_000_000))
tip, packed, _ = push(tree((b"100644", b"a", *zeros), (b"100644", b"b", *zeros)), [zeros])
write("expanded", request(tip, packed))

# Ten folders, each of which is ten times the one below: 10^10 files.
level, levels = plain, [("tree", plain)]
for _ in range(10):
    level = tree(*((b"40000", b"%d" % number, "tree", level) for number in range(10)))
    levels.append(("tree", level))
tip, packed, _ = push(level, [small, *levels[:-1]])
write("bomb", request(tip, packed))

level, levels = plain, [("tree", plain)]
for _ in range(100):
    level = tree((b"40000", b"d", "tree", level))
    levels.append(("tree", level))
tip, packed, _ = push(level, [small, *levels[:-1]])
write("deep", request(tip, packed))

link = tree((b"100644", b"Dockerfile", *small), (b"160000", b"module", "commit", commit(plain)))
tip, packed, _ = push(link, [small])
write("gitlink", request(tip, packed))

big = ("blob", b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(60_000)))
tip, packed, _ = push(tree((b"100644", b"f", *big)), [big])
write("pack", request(tip, packed))
