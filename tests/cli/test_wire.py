# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the library's client half puts on the rings, and what it takes from
them, seen from a peer that shares no code with it."""
import json
import os
import struct
import subprocess

from client_case import ClientCase, main
from fuse_server import FuseServer, directory, file, symlink

SET_CONFIG = 25
EXAMPLES = os.environ.get('VIRTIOFS_EXAMPLES', '.')
ALL = (1 << 32) - 1

# Bytes that may follow the reply header: FUSE 7.45, <linux/fuse.h>.
ROOM = {'LOOKUP': 128, 'GETATTR': 104, 'SETATTR': 104, 'SYMLINK': 128,
        'MKNOD': 128, 'MKDIR': 128, 'UNLINK': 0, 'RMDIR': 0, 'RENAME': 0,
        'LINK': 128, 'OPEN': 16, 'OPENDIR': 16, 'WRITE': 8, 'STATFS': 80,
        'RELEASE': 0, 'RELEASEDIR': 0, 'FLUSH': 0, 'INIT': 64, 'CREATE': 144,
        'DESTROY': 0, 'LSEEK': 8}
# Bytes of fixed arguments, and how many names follow.
ARGS = {'LOOKUP': (0, 1), 'GETATTR': (16, 0), 'SETATTR': (88, 0),
        'READLINK': (0, 0), 'SYMLINK': (0, 2), 'MKNOD': (16, 1),
        'MKDIR': (8, 1), 'UNLINK': (0, 1), 'RMDIR': (0, 1), 'RENAME': (8, 2),
        'LINK': (8, 1), 'OPEN': (8, 0), 'OPENDIR': (8, 0), 'READ': (40, 0),
        'READDIR': (40, 0), 'READDIRPLUS': (40, 0), 'STATFS': (0, 0),
        'RELEASE': (24, 0), 'RELEASEDIR': (24, 0), 'FLUSH': (24, 0),
        'INIT': (64, 0), 'CREATE': (16, 1), 'DESTROY': (0, 0),
        'LSEEK': (24, 0), 'FORGET': (8, 0)}


class Recorder(FuseServer):
    """Remembers each request."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.log = []       # (name, chain)

    def request(self, chain):
        from fuse_server import OPS
        self.log.append((OPS[chain.data[4]], chain))
        super().request(chain)


class Slow(Recorder):
    """Answers nothing until nothing more comes, then the last one first."""
    patience = 0.02

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.held = []
        self.held_forgets = []
        self.too_early = []

    def request(self, chain):
        _, op, _, nodeid = struct.unpack_from('<IIQQ', chain.data)
        fh = chain.data[40:48]
        for other in self.held:
            _, op2, _, nodeid2 = struct.unpack_from('<IIQQ', other.data)
            # RELEASE while the file is read or written; FORGET or UNLINK's
            # RENAME while anything about the node is not answered
            if op == 18 and op2 in (15, 16, 25, 46) and other.data[40:48] == fh:
                self.too_early.append(('RELEASE', op2))
            if op == 2 and nodeid2 == nodeid:
                self.too_early.append(('FORGET', op2))
        if op == 38 and self.held_forgets:
            self.too_early.append(('DESTROY', 2))
        if op == 2:
            self.held_forgets.append(chain)
        else:
            self.held.append(chain)

    def idle(self):
        held, self.held = self.held, []
        for chain in reversed(held):
            Recorder.request(self, chain)
        if not held:
            forgets, self.held_forgets = self.held_forgets, []
            for chain in forgets:
                Recorder.request(self, chain)


def tree():
    return directory(
        a=file(b'x' * 700000), b=file(b'y'), empty=file(),
        d=directory(e=file(b'z' * 5000)), l=symlink(b'a'))


class Wire(ClientCase):
    def everything(self):
        """All the commands, for all requests that they make."""
        self.write('t/f', b'1' * 600000)
        self.write('t/s/g', b'2')
        self.ok('get', '-r', '/', 'new')
        self.ok('put', '-r', 't', 'up')
        for args in (('ls', '-l'), ('stat', 'l'), ('mkdir', 'm'), ('ln', 'a', 'n'),
                     ('ln', '-s', 'a', 'o'), ('mv', 'n', 'p'), ('df',),
                     ('rm', '-r', 'up', 'm', 'p')):
            self.ok(*args)

    # covers: FS-DRV-08
    def test_readable_is_header_and_data_writable_is_header_and_room(self):
        s = self.serve(Recorder(tree()))
        self.everything()
        seen = set()
        for name, chain in s.log:
            seen.add(name)
            self.assertTrue(chain.in_order, name)
            length, = struct.unpack_from('<I', chain.data)
            self.assertEqual(length, len(chain.data), name)
            if name in ROOM:
                self.assertEqual(chain.room, 16 + ROOM[name], name)
            elif name == 'FORGET':
                self.assertEqual(chain.room, 0)
            elif name != 'BATCH_FORGET':
                self.assertGreater(chain.room, 16, name)
            body = chain.data[40:]
            if name == 'WRITE':
                self.assertEqual(len(body), 40 + struct.unpack_from('<I', body, 16)[0])
            elif name in ARGS:
                fixed, names = ARGS[name]
                self.assertEqual(body[fixed:].count(0), names, (name, body))
                self.assertEqual(len(body), fixed + (body[fixed:].rindex(0) + 1 if names else 0))
            if name in ('READ', 'READDIR', 'READDIRPLUS'):
                self.assertEqual(chain.room, 16 + struct.unpack_from('<I', body, 16)[0])
        self.assertGreaterEqual(len(seen), 22, seen)

    def test_golden_bytes(self):
        s = self.serve(Recorder(tree()))
        self.ok('mkdir', 'name')
        chain = [c for n, c in s.log if n == 'MKDIR'][0]
        length, op, unique, nodeid, uid, gid, pid, ext, pad = \
            struct.unpack_from('<IIQQIIIHH', chain.data)
        self.assertEqual((length, op, nodeid, ext, pad), (40 + 8 + 5, 9, 1, 0, 0))
        self.assertEqual(chain.data[48:], b'name\0')
        self.assertEqual(unique & 1, 0)
        self.assertNotEqual(unique, 0)

    # covers: FS-DRV-02
    def test_config_space_is_never_written(self):
        s = self.serve(Recorder(tree()))
        self.everything()
        numbers = {m[0] for m in self.peer.messages}
        self.assertNotIn(SET_CONFIG, numbers)
        self.assertIn(24, numbers)      # though it is read
        del s

    # covers: FS-DRV-12, FUSE-BTH-04
    def test_forgets_go_to_hiprio_and_nothing_else_does(self):
        s = self.serve(Recorder(tree()))
        self.everything()
        queues = {}
        for name, chain in s.log:
            queues.setdefault(name, set()).add(chain.queue.index)
        for name, where in queues.items():
            forget = name in ('FORGET', 'BATCH_FORGET')
            self.assertEqual(where, {0} if forget else {1}, name)
        self.assertIn('FORGET', queues)
        self.assertIn('DESTROY', queues)

    # covers: FS-DRV-05
    def test_init_comes_first_and_alone(self):
        s = self.serve(Recorder(tree()))
        self.ok('ls')
        self.assertEqual(s.log[0][0], 'INIT')
        self.assertEqual(s.log[0][1].queue.index, 1)
        self.assertEqual([n for n, _ in s.log].count('INIT'), 1)

    # covers: FS-DRV-07
    def test_dependent_requests_wait_for_answers(self):
        for i in range(3):
            root = tree()
            for k in range(20):
                root.children[b'f%d' % k] = file(b'%d' % k * 100000)
            s = Slow(root)
            if i == 0:
                self.serve(s)
            else:
                self.peer.close()
                os.unlink(self.sock)
                self.serve(s)
            self.write('t/f', b'1' * 600000)
            self.ok(*(('get', '-r', '/', 'new%d' % i), ('put', '-r', 't', 'up'),
                      ('rm', '-r', 'd', 'a'))[i])
            self.assertEqual(s.too_early, [])

    # covers: FUSE-DRV-09
    def test_session_ends_with_hiprio_drained_and_destroy_answered(self):
        s = self.serve(Slow(tree()))
        self.ok('get', '-r', '/', 'new')
        names = [n for n, _ in s.log]
        self.assertEqual(names[-1], 'DESTROY')
        self.assertIn('FORGET', names)
        self.assertNotIn(('DESTROY', 2), s.too_early)
        # the queues were stopped, if at all, by messages that came later
        self.assertEqual(s.destroyed, 1)


class SmallPrograms(ClientCase):
    def program(self, name, *args):
        return subprocess.run([os.path.join(EXAMPLES, name), *args],
                              capture_output=True, text=True, timeout=60)

    def test_cat_client(self):
        self.serve(tree_server())
        p = self.program('cat_client', 'vhost-user:' + self.sock, 'b')
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, 'y', ''))
        p = self.program('cat_client', 'vhost-user:' + self.sock, 'none')
        self.assertEqual((p.returncode, p.stdout), (1, ''))
        self.assertIn('No such file or directory', p.stderr)
        self.assertEqual(self.server.mistakes, [])

    def test_fast_client_keeps_many_reads_in_flight(self):
        s = self.serve(FuseServer(directory(a=file(bytes(5000000)))))
        p = self.program('fast_client', 'vhost-user:' + self.sock, 'a')
        self.assertEqual((p.returncode, p.stdout, p.stderr),
                         (0, '5000000 bytes\n', ''))
        self.assertGreater(s.deepest, 16)
        self.assertEqual(s.mistakes, [])

    def test_without_arguments(self):
        for name in ('cat_client', 'fast_client'):
            p = self.program(name)
            self.assertEqual(p.returncode, 1)
            self.assertIn('usage: ' + name, p.stderr)


def tree_server():
    return FuseServer(tree())


class Init(ClientCase):
    def start_with(self, answer):
        s = self.serve(FuseServer(tree()))

        def op_init(nodeid, body):
            s.init_in = body
            return answer(body)
        s.op_init = op_init
        return s

    @staticmethod
    def answer(major=7, minor=38, flags=1 << 22, max_write=1 << 20, max_pages=256,
               flags2=0, size=64):
        return struct.pack('<IIIIHHIIHHIIH22x', major, minor, 1 << 17, flags, 64, 48,
                           max_write, 1, max_pages, 0, flags2, 0, 0)[:size]

    # covers: FUSE-DRV-01
    def test_smaller_major(self):
        majors = []

        def answer(body):
            majors.append(struct.unpack_from('<I', body)[0])
            return self.answer(major=6)
        self.start_with(answer)
        err = self.fails('info', clean=False)
        self.assertIn(self.sock, err)
        self.assertEqual(majors[0], 7)
        self.assertIn(majors[1:], ([], [6]))

    # covers: FUSE-DRV-02
    def test_replies_that_end_early(self):
        """What is missing counts as 0: no flags, then the least of all sizes."""
        self.start_with(lambda body: self.answer(size=self.size))
        for self.size, flags, max_write, max_pages in (
                (8, [], 4096, 32), (24, ['MAX_PAGES'], 4096, 1),
                (40, ['MAX_PAGES'], 124 * 4096, 124), (64, ['MAX_PAGES'], 124 * 4096, 124)):
            info = json.loads(self.ok('info', '--json'))
            self.assertEqual((info['fuse'], info['max_write'], info['max_pages']),
                             (flags, max_write, max_pages), self.size)
            self.assertIn('b\n', self.ok('ls'))
        self.size = 7
        self.assertIn(self.sock, self.fails('info', clean=False))

    # covers: FUSE-DRV-03
    def test_flags_that_were_not_offered(self):
        s = self.start_with(lambda body: self.answer(flags=ALL, flags2=ALL))
        info = json.loads(self.ok('info', '--json'))
        flags, flags2 = struct.unpack_from('<II', s.init_in, 12)
        offered = flags | flags2 << 32
        names = {name: bit for bit, name in enumerate(
            ['ASYNC_READ', 'POSIX_LOCKS', 'FILE_OPS', 'ATOMIC_O_TRUNC', 'EXPORT_SUPPORT',
             'BIG_WRITES', 'DONT_MASK', 'SPLICE_WRITE', 'SPLICE_MOVE', 'SPLICE_READ',
             'FLOCK_LOCKS', 'HAS_IOCTL_DIR', 'AUTO_INVAL_DATA', 'DO_READDIRPLUS',
             'READDIRPLUS_AUTO', 'ASYNC_DIO', 'WRITEBACK_CACHE', 'NO_OPEN_SUPPORT',
             'PARALLEL_DIROPS', 'HANDLE_KILLPRIV', 'POSIX_ACL', 'ABORT_ERROR', 'MAX_PAGES',
             'CACHE_SYMLINKS', 'NO_OPENDIR_SUPPORT', 'EXPLICIT_INVAL_DATA', 'MAP_ALIGNMENT',
             'SUBMOUNTS', 'HANDLE_KILLPRIV_V2', 'SETXATTR_EXT', 'INIT_EXT'])}
        used = sum(1 << names[n] for n in info['fuse'])
        self.assertEqual(used, offered & ((1 << 31) - 1))
        self.assertEqual(offered & (1 << 31 | 7 << 7), 0)

    # covers: FUSE-DRV-04
    def test_write_is_never_longer_than_max_write(self):
        self.write('f', b'1' * 300000)
        for max_write in (0, 100, 4096, 5000, 1 << 20):
            if self.peer:
                self.peer.close()
                os.unlink(self.sock)
            s = self.start_with(lambda body, w=max_write: self.answer(max_write=w))
            sizes = []

            def op_write(nodeid, body, s=s, sizes=sizes):
                sizes.append(struct.unpack_from('<I', body, 16)[0])
                s.max_write = 1 << 30
                return FuseServer.op_write(s, nodeid, body)
            s.op_write = op_write
            self.ok('put', 'f', '/')
            self.assertEqual(sum(sizes), 300000)
            self.assertLessEqual(max(sizes), max(4096, max_write))
            self.assertGreaterEqual(max(sizes), min(4096, 300000))

    # covers: FUSE-DRV-05, FUSE-BTH-02
    def test_pages_of_a_request_fit_the_queue(self):
        self.start_with(lambda body: self.answer())
        for size, pages in ((8, 4), (16, 12), (128, 124), (1024, 256)):
            opts = ('--queue-size', str(size))
            info = json.loads(self.ok('info', '--json', opts=opts))
            self.assertEqual(info['max_pages'], pages)
            longest = []
            self.server.op_read = lambda n, b: (longest.append(
                struct.unpack_from('<I', b, 16)[0]), FuseServer.op_read(self.server, n, b))[1]
            self.ok('get', 'a', 'a%d' % size, opts=opts)
            self.assertLessEqual(max(longest), pages * 4096)
        self.server.op_init = lambda n, b: self.answer(flags=0)
        info = json.loads(self.ok('info', '--json', opts=('--queue-size', '1024')))
        self.assertEqual(info['max_pages'], 32)


class Replies(ClientCase):
    """The second LOOKUP is answered wrongly; the third has to work again."""

    def lie(self, how):
        s = self.serve(FuseServer(directory(a=file(b'1'), b=file(b'2'), c=file(b'3'))))

        def reply(chain, unique, payload, error=0):
            if s.counts['LOOKUP'] != 2 or chain.data[4] != 1:
                return FuseServer.reply(s, chain, unique, payload, error)
            head, used = how(unique, payload)
            chain.write(head)
            chain.queue.push(chain.head, used)
        s.reply = reply
        status, out, err = self.run_client('stat', 'a', 'b', 'c')
        self.assertEqual(status, 1)
        return out, err

    def refused(self, how):
        if self.peer:
            self.peer.close()
            os.unlink(self.sock)
        out, err = self.lie(how)
        self.assertIn('File: a\n', out)
        self.assertNotIn('File: b\n', out)
        self.assertIn("cannot stat 'b'", err)
        self.assertIn('File: c\n', out)
        self.assertEqual(self.server.handles, {})

    @staticmethod
    def head(length, error, unique):
        return struct.pack('<IiQ', length, error, unique)

    # covers: FUSE-DRV-07
    def test_headers_that_lie(self):
        h = self.head
        for how in (
                lambda u, p: (h(144, 0, u) + p, 8),          # used < 16
                lambda u, p: (h(144, 0, u) + p, 0),
                lambda u, p: (h(143, 0, u) + p, 144),        # out.len != used
                lambda u, p: (h(200, 0, u) + p, 144),
                lambda u, p: (h(15, 0, u) + p, 144),
                lambda u, p: (h(144, 0, u + 2) + p, 144),    # another unique
                lambda u, p: (h(144, 0, 0) + p, 144),
                lambda u, p: (h(16, 5, u), 16),              # a positive error
                lambda u, p: (h(16, -512, u), 16),           # none of the range
                lambda u, p: (h(16, -2147483648, u), 16),
                lambda u, p: (h(144, -2, u) + p, 144),       # error with payload
                lambda u, p: (h(16, 0, u), 16)):             # no entry at all
            self.refused(how)

    # covers: FUSE-DRV-08
    def test_struct_that_is_cut_short(self):
        """By cat_client, which believes what the library returns."""
        s = self.serve(FuseServer(directory(a=file(b'1'))))
        command = [os.path.join(EXAMPLES, 'cat_client'), 'vhost-user:' + self.sock, 'a']
        self.assertEqual(subprocess.check_output(command), b'1')
        for op, lengths in ((1, (1, 40, 119, 127)), (14, (1, 8, 15))):
            for n in lengths:
                def reply(chain, unique, payload, error=0, op=op, n=n):
                    payload = payload[:n] if chain.data[4] == op else payload
                    FuseServer.reply(s, chain, unique, payload, error)
                s.reply = reply
                p = subprocess.run(command, capture_output=True, timeout=60)
                self.assertEqual((p.returncode, p.stdout), (1, b''), (op, n))


if __name__ == '__main__':
    main()
