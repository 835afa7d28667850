# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system in memory that speaks FUSE over the chains of vhost_peer, and
keeps book: lookups that were not forgotten, handles that were not released,
how many requests came at once. Tests change it by overriding op_NAME or hooks.

Structures: include/virtiofs/fuse_kernel.h.
"""
import errno
import stat
import struct
from collections import Counter

OPS = {
    1: 'LOOKUP', 2: 'FORGET', 3: 'GETATTR', 4: 'SETATTR', 5: 'READLINK',
    6: 'SYMLINK', 8: 'MKNOD', 9: 'MKDIR', 10: 'UNLINK', 11: 'RMDIR',
    12: 'RENAME', 13: 'LINK', 14: 'OPEN', 15: 'READ', 16: 'WRITE',
    17: 'STATFS', 18: 'RELEASE', 25: 'FLUSH', 26: 'INIT', 27: 'OPENDIR',
    28: 'READDIR', 29: 'RELEASEDIR', 35: 'CREATE', 38: 'DESTROY',
    42: 'BATCH_FORGET', 44: 'READDIRPLUS', 46: 'LSEEK',
}
DO_READDIRPLUS = 1 << 13
NO_OPEN_SUPPORT = 1 << 17
MAX_PAGES = 1 << 22
NO_OPENDIR_SUPPORT = 1 << 24
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE = 1, 2, 4, 8
FATTR_ATIME, FATTR_MTIME = 16, 32


class Node:
    def __init__(self, mode, data=b'', uid=0, gid=0, mtime=(1000000000, 123456789)):
        self.mode, self.data, self.uid, self.gid = mode, bytearray(data), uid, gid
        self.mtime = self.atime = mtime
        self.children = {} if stat.S_ISDIR(mode) else None
        self.target = b''
        self.rdev = 0
        self.nlink = 1
        self.blocks = None
        self.id = 0
        self.lookups = 0


def directory(**children):
    d = Node(stat.S_IFDIR | 0o755)
    for name, node in children.items():
        d.children[name.encode()] = node
    return d


def file(data=b'', mode=0o644, **kw):
    return Node(stat.S_IFREG | mode, data, **kw)


def symlink(target):
    n = Node(stat.S_IFLNK | 0o777)
    n.target = target
    return n


class FuseServer:
    patience = None     # seconds without a request, then idle() is called

    def __init__(self, root=None, enosys=(), flags=DO_READDIRPLUS | MAX_PAGES,
                 max_write=1 << 20, max_pages=256):
        self.root = root or directory()
        self.enosys = set(enosys)
        self.flags, self.max_write, self.max_pages = flags, max_write, max_pages
        self.counts = Counter()
        self.deepest = 0          # most requests that came in one batch
        self.destroyed = 0
        self.on_hiprio = Counter()
        self.wrong_queue = []
        self.nodes = {1: self.root}
        self.root.id = 1
        self.next_id = 2
        self.handles = {}
        self.next_fh = 1
        self.mistakes = []

    # what the test looks at in the end

    def unforgotten(self):
        return {n.id: n.lookups for n in self.nodes.values()
                if n.lookups and n.id != 1}

    # from the peer

    def batch(self, queue, chains):
        if queue:
            self.deepest = max(self.deepest, len(chains))

    def lost(self):
        pass

    def idle(self):
        pass

    def request(self, chain):
        length, op, unique, nodeid, uid, gid, pid, ext, _ = \
            struct.unpack_from('<IIQQIIIHH', chain.data)
        name = OPS.get(op, str(op))
        self.counts[name] += 1
        if length != len(chain.data):
            self.mistakes.append(f'{name}: length {length}, not {len(chain.data)}')
        if (chain.queue.index == 0) != (name in ('FORGET', 'BATCH_FORGET', 'INTERRUPT')):
            self.wrong_queue.append(name)
        self.header = (uid, gid, unique)
        body = chain.data[40:]
        try:
            if name in self.enosys:
                raise OSError(errno.ENOSYS, name)
            handler = getattr(self, 'op_' + name.lower(), None)
            if handler is None:
                raise OSError(errno.ENOSYS, name)
            answer = handler(nodeid, body)
        except OSError as e:
            return self.reply(chain, unique, b'', -e.errno)
        if name in ('FORGET', 'BATCH_FORGET'):
            return chain.queue.push(chain.head, 0)
        self.reply(chain, unique, answer or b'')

    def reply(self, chain, unique, payload, error=0):
        n = 16 + len(payload)
        if n > chain.room:
            self.mistakes.append(f'reply of {n} in room of {chain.room}')
        chain.write(struct.pack('<IiQ', n, error, unique) + payload)
        chain.queue.push(chain.head, n)

    # nodes

    def node(self, nodeid):
        if nodeid not in self.nodes or (nodeid != 1 and not self.nodes[nodeid].lookups):
            self.mistakes.append(f'node {nodeid} is not known to the client')
            raise OSError(errno.ESTALE, 'node')
        return self.nodes[nodeid]

    def directory(self, nodeid):
        n = self.node(nodeid)
        if n.children is None:
            raise OSError(errno.ENOTDIR, 'dir')
        return n

    def attr(self, n):
        blocks = n.blocks if n.blocks is not None else (len(n.data) + 511) // 512
        size = len(n.target) if stat.S_ISLNK(n.mode) else len(n.data)
        return struct.pack('<QQQQQQIIIIIIIIII', n.id, size, blocks, n.atime[0],
                           n.mtime[0], n.mtime[0], n.atime[1], n.mtime[1],
                           n.mtime[1], n.mode, n.nlink, n.uid, n.gid, n.rdev,
                           4096, 0)

    def identify(self, n):
        if not n.id:
            n.id = self.next_id
            self.next_id += 1
            self.nodes[n.id] = n

    def entry(self, n):
        self.identify(n)
        n.lookups += 1
        return struct.pack('<QQQQII', n.id, 0, 1, 1, 0, 0) + self.attr(n)

    @staticmethod
    def names(body):
        return body.split(b'\0')

    def child(self, nodeid, name):
        d = self.directory(nodeid)
        if name not in d.children:
            raise OSError(errno.ENOENT, 'child')
        return d.children[name]

    def known(self, nodeid, name):
        """A child to be removed or renamed. Servers count on kernels' habit to
        look up first, and to forget after."""
        n = self.child(nodeid, name)
        if not n.lookups:
            self.mistakes.append(f'{name} was not looked up')
        return n

    # operations

    def op_init(self, nodeid, body):
        major, minor, readahead, flags = struct.unpack_from('<IIII', body)
        self.init_in = body
        return struct.pack('<IIIIHHIIHHIIH22x', 7, 38, readahead,
                           self.flags & flags, 64, 48, self.max_write, 1,
                           self.max_pages, 0, 0, 0, 0)

    def op_destroy(self, nodeid, body):
        self.destroyed += 1

    def op_lookup(self, nodeid, body):
        return self.entry(self.child(nodeid, self.names(body)[0]))

    def forget(self, nodeid, n):
        node = self.nodes.get(nodeid)
        if node is None or n > node.lookups:
            self.mistakes.append(f'{n} forgotten of node {nodeid}')
        else:
            node.lookups -= n

    def op_forget(self, nodeid, body):
        self.forget(nodeid, *struct.unpack('<Q', body))

    def op_batch_forget(self, nodeid, body):
        count, _ = struct.unpack_from('<II', body)
        for i in range(count):
            self.forget(*struct.unpack_from('<QQ', body, 8 + 16 * i))

    def op_getattr(self, nodeid, body):
        return struct.pack('<QII', 1, 0, 0) + self.attr(self.node(nodeid))

    def op_setattr(self, nodeid, body):
        n = self.node(nodeid)
        (valid, _, fh, size, _, atime, mtime, _, ansec, mnsec, _, mode, _, uid,
         gid, _) = struct.unpack('<IIQQQQQQIIIIIIII', body)
        if valid & FATTR_MODE:
            n.mode = stat.S_IFMT(n.mode) | mode & 0o7777
        if valid & FATTR_UID:
            n.uid = uid
            n.mode &= ~0o6000   # as chown does
        if valid & FATTR_GID:
            n.gid = gid
        if valid & FATTR_SIZE:
            del n.data[size:]
            n.data.extend(bytes(size - len(n.data)))
        if valid & FATTR_ATIME:
            n.atime = atime, ansec
        if valid & FATTR_MTIME:
            n.mtime = mtime, mnsec
        return struct.pack('<QII', 1, 0, 0) + self.attr(n)

    def op_readlink(self, nodeid, body):
        return self.node(nodeid).target

    def add(self, nodeid, name, n):
        d = self.directory(nodeid)
        if name in d.children:
            raise OSError(errno.EEXIST, 'add')
        n.uid, n.gid = self.header[:2]
        d.children[name] = n
        return self.entry(n)

    def op_symlink(self, nodeid, body):
        name, target = self.names(body)[:2]
        return self.add(nodeid, name, symlink(target))

    def op_mknod(self, nodeid, body):
        mode, rdev, umask, _ = struct.unpack_from('<IIII', body)
        n = Node(mode)
        n.rdev = rdev
        return self.add(nodeid, self.names(body[16:])[0], n)

    def op_mkdir(self, nodeid, body):
        mode, umask = struct.unpack_from('<II', body)
        return self.add(nodeid, self.names(body[8:])[0],
                        Node(stat.S_IFDIR | mode & 0o7777))

    def op_unlink(self, nodeid, body):
        name = self.names(body)[0]
        if stat.S_ISDIR(self.known(nodeid, name).mode):
            raise OSError(errno.EISDIR, 'unlink')
        del self.directory(nodeid).children[name]

    def op_rmdir(self, nodeid, body):
        name = self.names(body)[0]
        if self.known(nodeid, name).children:
            raise OSError(errno.ENOTEMPTY, 'rmdir')
        del self.directory(nodeid).children[name]

    def op_rename(self, nodeid, body):
        newdir, = struct.unpack_from('<Q', body)
        old, new = self.names(body[8:])[:2]
        n = self.known(nodeid, old)
        there = self.directory(newdir).children.get(new)
        if there and there is not n and stat.S_ISDIR(there.mode):
            if not stat.S_ISDIR(n.mode):
                raise OSError(errno.EISDIR, 'rename')
            if there.children:
                raise OSError(errno.ENOTEMPTY, 'rename')
        del self.directory(nodeid).children[old]
        self.directory(newdir).children[new] = n

    def op_link(self, nodeid, body):
        old, = struct.unpack_from('<Q', body)
        name = self.names(body[8:])[0]
        n = self.node(old)
        d = self.directory(nodeid)
        if name in d.children:
            raise OSError(errno.EEXIST, 'link')
        d.children[name] = n
        n.nlink += 1
        return self.entry(n)

    def open(self, nodeid):
        fh = self.next_fh
        self.next_fh += 1
        self.handles[fh] = nodeid
        return struct.pack('<QIi', fh, 0, 0)

    def op_open(self, nodeid, body):
        self.node(nodeid)
        return self.open(nodeid)

    def op_opendir(self, nodeid, body):
        self.directory(nodeid)
        return self.open(nodeid)

    def close(self, nodeid, body):
        fh, = struct.unpack_from('<Q', body)
        if self.handles.pop(fh, None) != nodeid:
            self.mistakes.append(f'release of handle {fh}, node {nodeid}')

    op_release = op_releasedir = close

    def op_flush(self, nodeid, body):
        self.check_fh(nodeid, body)

    def check_fh(self, nodeid, body, opener='OPEN'):
        fh, = struct.unpack_from('<Q', body)
        ok = self.handles.get(fh) == nodeid
        if not ok and not (fh == 0 and opener in self.enosys):
            self.mistakes.append(f'handle {fh} of node {nodeid} is not open')
            raise OSError(errno.EBADF, 'fh')

    def op_create(self, nodeid, body):
        flags, mode, umask, _ = struct.unpack_from('<IIII', body)
        n = file(mode=mode & 0o7777)
        entry = self.add(nodeid, self.names(body[16:])[0], n)
        return entry + self.open(n.id)

    def op_read(self, nodeid, body):
        fh, off, size = struct.unpack_from('<QQI', body)
        self.check_fh(nodeid, body)
        if size > self.max_pages * 4096:
            self.mistakes.append(f'READ of {size}')
        return bytes(self.node(nodeid).data[off:off + size])

    def op_write(self, nodeid, body):
        fh, off, size = struct.unpack_from('<QQI', body)
        data = body[40:]
        self.check_fh(nodeid, body)
        if size != len(data) or size > self.max_write:
            self.mistakes.append(f'WRITE of {size}, {len(data)} came')
        n = self.node(nodeid)
        if len(n.data) < off + size:
            n.data.extend(bytes(off + size - len(n.data)))
        n.data[off:off + size] = data
        return struct.pack('<II', size, 0)

    def op_lseek(self, nodeid, body):
        raise OSError(errno.ENOSYS, 'lseek')

    def op_statfs(self, nodeid, body):
        return struct.pack('<QQQQQIIII24x', 1000, 400, 300, 100, 50, 4096, 255,
                           4096, 0)

    # directories: the offset of an entry is its place

    def dirents(self, d):
        return [(b'.', d), (b'..', d)] + list(d.children.items())

    @staticmethod
    def dirent(ino, off, name, mode, namelen=None):
        raw = struct.pack('<QQII', ino, off, len(name) if namelen is None else namelen,
                          stat.S_IFMT(mode) >> 12) + name
        return raw.ljust((len(raw) + 7) & ~7, b'\0')

    def readdir(self, nodeid, body, plus):
        fh, off, size = struct.unpack_from('<QQI', body)
        self.check_fh(nodeid, body, 'OPENDIR')
        out = b''
        for i, (name, n) in list(enumerate(self.dirents(self.directory(nodeid))))[off:]:
            self.identify(n)
            record = self.dirent(n.id, i + 1, name, n.mode)
            if len(out) + len(record) + (128 if plus else 0) > size:
                break
            if plus:
                dots = name in (b'.', b'..')
                out += bytes(40) + self.attr(n) if dots else self.entry(n)
            out += record
        return out

    def op_readdir(self, nodeid, body):
        return self.readdir(nodeid, body, False)

    def op_readdirplus(self, nodeid, body):
        return self.readdir(nodeid, body, True)
