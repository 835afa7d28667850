# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers that lie, stop, or go away. Tests are named after the lie."""
import errno
import os
import signal
import stat
import struct
import subprocess
import threading
import unittest

from client_case import ClientCase, main
from fuse_server import FuseServer, directory, file, symlink
from vhost_peer import HangUp


class Lies(ClientCase):
    def dirents(self, entries):
        """A root whose listing is what entries(offset) returns."""
        s = self.serve(FuseServer(directory(), flags=1 << 22))
        s.op_readdir = lambda nodeid, body: entries(
            struct.unpack_from('<QQI', body)[1])
        return s

    def lie_once(self, record):
        self.dirents(lambda off: record if off == 0 else b'')

    def test_name_with_slash(self):
        self.lie_once(FuseServer.dirent(5, 1, b'../x', stat.S_IFREG))
        self.assertIn('cannot read directory', self.fails('ls'))
        self.fails('get', '-r', '/', 'new')
        self.assertEqual(os.listdir(self.path('new')), [])
        self.assertFalse(os.path.exists(self.path('x')))

    def test_name_with_nul(self):
        self.lie_once(FuseServer.dirent(5, 1, b'a\0b', stat.S_IFREG))
        self.fails('ls')

    def test_empty_name(self):
        self.lie_once(FuseServer.dirent(5, 1, b'', stat.S_IFREG))
        self.fails('ls')

    def test_name_longer_than_the_reply(self):
        self.lie_once(FuseServer.dirent(5, 1, b'x', stat.S_IFREG, namelen=500))
        self.fails('ls')
        self.server.op_readdir = lambda n, b: b'\0' * 23
        self.fails('ls')
        self.server.op_readdir = lambda n, b: \
            FuseServer.dirent(5, 1, b'x', stat.S_IFREG, namelen=0xffffffff)
        self.fails('ls')

    def test_dot_dot_as_directory_is_not_entered(self):
        s = self.serve(FuseServer(directory(d=directory(f=file(b'x')))))
        real = s.dirents
        s.dirents = lambda d: [(b'..', s.root), (b'.', s.root)] + real(d)
        self.ok('get', '-r', '/', 'new')
        self.assertEqual(os.listdir(self.path('new')), ['d'])

    def test_offset_that_stays(self):
        self.dirents(lambda off: FuseServer.dirent(5, 0, b'x', stat.S_IFREG))
        self.assertIn('cannot read directory', self.fails('ls'))

    def test_offsets_in_a_circle(self):
        self.dirents(lambda off: FuseServer.dirent(5, (off + 1) % 1000, b'x', stat.S_IFREG))
        self.fails('ls')
        self.fails('rm', '-r', 'x', clean=False)
        self.assertLess(self.server.counts['READDIR'], 5000)

    def test_directory_inside_itself(self):
        d = directory()
        d.children[b'again'] = d
        self.serve(FuseServer(directory(d=d)))
        for args in (('ls', '-R'), ('get', '-r', '/', 'new')):
            self.assertIn('Too many levels', self.fails(*args))

    def test_directories_without_end(self):
        class Deep(FuseServer):
            def op_lookup(self, nodeid, body):
                return self.entry(directory(d=directory(), e=file(b'x')))
        self.serve(Deep(directory(d=directory())))
        for args in (('ls', '-R'), ('get', '-r', '/', 'new'), ('rm', '-r', 'd')):
            self.assertIn('Too many levels', self.fails(*args, clean=False))

    def test_link_then_directory_of_one_name(self):
        """The link must not be a way out of the copy."""
        os.mkdir(self.path('outside'))
        s = self.serve(FuseServer(directory(
            a=symlink(self.path('outside').encode()))))
        inner = directory(f=file(b'escaped'))
        real, looked = s.dirents, s.op_lookup
        s.dirents = lambda d: real(d) + ([(b'a', inner)] if d is s.root else [])
        s.op_lookup = lambda n, b: s.entry(inner) if n == 1 and b == b'a\0' else looked(n, b)
        self.fails('get', '-r', '/', 'new')
        self.assertEqual(os.listdir(self.path('outside')), [])

    def test_file_then_link_of_one_name(self):
        s = self.serve(FuseServer(directory(a=file(b'new'))))
        os.mkdir(self.path('new'))
        self.write('victim', b'old')
        os.symlink(self.path('victim'), self.path('new/a'))
        self.ok('get', '-r', '/.', 'new')
        self.assertEqual(self.read('victim'), b'old')
        self.assertEqual(self.read('new/a'), b'new')
        del s

    def test_terminal_codes_in_a_name(self):
        name = b'\x1b]0;gotcha\x07'
        s = self.serve()
        s.root.children[name] = directory()
        err = self.fails('rm', name.decode())
        self.assertNotIn('\x1b', err)

    def test_attributes_that_make_no_sense(self):
        n = file(b'x')
        s = self.serve(FuseServer(directory(a=n)))
        n.mode = 0o170000 | 0o644
        self.assertIn('Input/output error', self.fails('stat', 'a', clean=False))
        self.assertEqual(s.unforgotten(), {})
        n.mode = stat.S_IFREG | 0o644
        s.attr = lambda node, a=s.attr: a(node)[:8] + b'\xff' * 8 + a(node)[16:]
        self.assertIn('Input/output error', self.fails('stat', 'a', clean=False))

    def test_times_that_make_no_sense(self):
        n = file(b'x', mtime=(1, 0x3fffffff))	# UTIME_NOW
        self.serve(FuseServer(directory(a=n)))
        self.ok('get', '-r', 'a', 'b')
        self.assertEqual(os.stat(self.path('b')).st_mtime_ns, 10**9)

    def test_read_of_more_than_asked(self):
        s = self.serve(FuseServer(directory(a=file(b'x' * 10))))
        s.op_read = lambda n, b: b'y' * 4096
        s.reply = lambda *a, r=s.reply: (r(*a), s.mistakes.clear())
        self.fails('get', 'a', clean=False)
        self.assertEqual([f for f in os.listdir(self.tmp) if f != 's'], [])

    def test_reply_longer_than_its_room(self):
        s = self.serve(FuseServer(directory(a=file(b'x' * 10))))

        def reply(chain, unique, payload, error=0):
            if s.counts['LOOKUP']:
                chain.write(struct.pack('<IiQ', 1 << 30, 0, unique) + payload)
                chain.queue.push(chain.head, 1 << 30)
            else:
                FuseServer.reply(s, chain, unique, payload, error)
        s.reply = reply
        self.fails('stat', 'a', clean=False)

    def test_reply_shorter_than_its_struct(self):
        s = self.serve(FuseServer(directory(a=file(b'x'))))
        s.op_lookup = lambda n, b: b'\x02' + bytes(39)
        self.assertIn("cannot stat 'a'", self.fails('stat', 'a', clean=False))

    def test_write_of_more_than_sent(self):
        s = self.serve()
        self.write('a', b'abc')
        for n in (0, 4, 0xffffffff):
            s.op_write = lambda node, body, n=n: struct.pack('<II', n, 0)
            self.assertIn("error writing '/a'", self.fails('put', 'a', '/'))
            self.assertEqual(s.root.children, {})

    def test_lseek_that_leads_back(self):
        n = file(b'z' * 100000)
        n.blocks = 0
        s = self.serve(FuseServer(directory(a=n)))
        for answer in (0, 1, 50000, 1 << 62):
            s.op_lseek = lambda node, body, a=answer: struct.pack('<Q', a)
            self.run_client('get', 'a')
        s.op_lseek = lambda node, body: struct.pack('<Q', 0)
        self.ok('get', 'a')
        self.assertEqual(self.read('a'), b'z' * 100000)

    def test_file_that_shrinks(self):
        s = self.serve(FuseServer(directory(a=file(b'z' * 3000000))))

        def read(nodeid, body):
            del s.root.children[b'a'].data[1000000:]
            return FuseServer.op_read(s, nodeid, body)
        s.op_read = read
        self.ok('get', 'a')
        self.assertEqual(len(self.read('a')), 1000000)

    def test_short_reads_and_writes(self):
        data = os.urandom(2000000)
        s = self.serve(FuseServer(directory(a=file(data))))
        s.op_read = lambda n, b: FuseServer.op_read(s, n, b)[:70000]

        def write(nodeid, body):
            fh, off, size = struct.unpack_from('<QQI', body)
            size = min(size, 70000)
            short = body[:16] + struct.pack('<I', size) + body[20:40 + size]
            return FuseServer.op_write(s, nodeid, short)
        s.op_write = write
        self.ok('get', 'a')
        self.assertEqual(self.read('a'), data)
        p = self.start('cat', 'a')
        self.assertEqual(p.communicate()[0], data)
        self.ok('put', 'a', 'b')
        self.assertEqual(s.root.children[b'b'].data, data)

    def test_no_file_system_behind_the_socket(self):
        """What a device of another type does with FUSE_INIT."""
        s = self.serve()
        for answer in (b'', b'\0' * 64, b'\xff' * 64, b'x' * 7):
            s.op_init = lambda n, b, a=answer: a
            err = self.fails('info', opts=('--timeout', '2'), clean=False)
            self.assertIn(self.sock, err)

        def op_init(nodeid, body):
            raise OSError(errno.EIO, 'init')
        s.op_init = op_init
        self.assertIn(self.sock, self.fails('info', clean=False))

    def test_device_of_another_type(self):
        """As a block device: no hiprio queue, sizes where the tag is, and a
        status byte for every request."""
        s = FuseServer()
        self.serve(s, request_queues=0)
        self.assertIn('queue', self.fails('info', clean=False))
        for tag in (b'', b'\0P\0\0'):
            self.peer.close()
            os.unlink(self.sock)
            self.serve(s, tag=tag)
            self.assertIn('tag is empty', self.fails('info', clean=False))
        self.peer.close()
        os.unlink(self.sock)
        self.serve(s, tag=b'\x01P\0\0')

        def reply(chain, unique, payload, error=0):
            chain.write(bytes(chain.room - 1) + b'\2')
            chain.queue.push(chain.head, chain.room)
        s.reply = reply
        err = self.fails('info', opts=('--timeout', '5'), clean=False)
        self.assertIn('cannot connect', err)

    def test_no_config_space_and_a_tag(self):
        self.serve(protocol=0)
        out = self.ok('info', opts=('--tag', 'mine'))
        self.assertIn('mine', out)
        self.ok('ls', opts=('--tag', 'mine'))


class Ends(ClientCase):
    """Copies that can't be finished."""

    def left(self):
        return sorted(f for f in os.listdir(self.tmp) if f not in ('s', 'src'))

    def after(self, s, op, count, then):
        """The count-th request of a kind has another effect."""
        real = getattr(s, op)
        calls = iter(range(1 << 30))

        def handler(nodeid, body):
            if next(calls) >= count:
                return then(nodeid, body)
            return real(nodeid, body)
        setattr(s, op, handler)

    def hang_up(self, nodeid, body):
        raise HangUp

    def test_peer_hangs_up_in_get(self):
        s = self.serve(FuseServer(directory(a=file(b'z' * 20000000))))
        self.write('old', b'kept')
        self.after(s, 'op_read', 5, self.hang_up)
        err = self.fails('get', 'a', 'old', clean=False)
        self.assertIn("'a'", err)
        self.assertIn("incomplete 'old' was removed", err)
        self.assertEqual(self.left(), ['old'])
        self.assertEqual(self.read('old'), b'kept')

    def test_peer_hangs_up_in_get_of_a_tree(self):
        root = directory(**{f'f{i}': file(b'%d' % i * 1000) for i in range(200)})
        s = self.serve(FuseServer(root))
        self.after(s, 'op_read', 50, self.hang_up)
        err = self.fails('get', '-r', '/', 'new', clean=False)
        self.assertIn('was removed', err)
        self.assertIn('the device is gone', err)
        self.assertLess(len(err.splitlines()), 80)
        for name in os.listdir(self.path('new')):
            self.assertEqual(self.read('new', name), root.children[name.encode()].data)

    def test_peer_hangs_up_in_put(self):
        s = self.serve()
        self.write('a', b'z' * 20000000)
        self.after(s, 'op_write', 5, self.hang_up)
        err = self.fails('put', 'a', '/', clean=False)
        self.assertIn("error writing '/a'", err)
        self.assertIn('may be left as', err)
        self.assertNotIn(b'a', s.root.children)

    def test_server_s_disk_is_full_in_put(self):
        s = self.serve(FuseServer(directory(a=file(b'kept'))))

        def full(nodeid, body):
            raise OSError(errno.ENOSPC, 'write')
        self.after(s, 'op_write', 2, full)
        self.write('a', b'z' * 20000000)
        err = self.fails('put', 'a', '/')
        self.assertEqual(err, "virtiofs-client: error writing '/a': No space left on "
                         "device; the incomplete '/a' was removed\n")
        self.assertEqual(list(s.root.children), [b'a'])
        self.assertEqual(s.root.children[b'a'].data, b'kept')

    def test_server_tells_the_full_disk_in_flush(self):
        s = self.serve()

        def full(nodeid, body):
            raise OSError(errno.EDQUOT, 'flush')
        s.op_flush = full
        self.write('a', b'z')
        self.assertIn('Disk quota exceeded', self.fails('put', 'a', '/'))
        self.assertEqual(s.root.children, {})

    def test_read_error_in_get(self):
        s = self.serve(FuseServer(directory(a=file(b'z' * 20000000), b=file(b'fine'))))

        def bad(nodeid, body):
            if s.nodes[nodeid] is s.root.children[b'b']:
                return FuseServer.op_read(s, nodeid, body)
            raise OSError(errno.EIO, 'read')
        self.after(s, 'op_read', 3, bad)
        err = self.fails('get', '-r', '/', 'new')
        self.assertEqual(err, "virtiofs-client: error reading '/a': Input/output error; "
                         "the incomplete 'new/a' was removed\n")
        self.assertEqual(os.listdir(self.path('new')), ['b'])

    def small_disk(self, script):
        """Run in a mount namespace with 1 MiB at tmp/d."""
        unshare = ['unshare', '-m'] if os.geteuid() == 0 else ['unshare', '-rm']
        mount = f'mount -t tmpfs -o size=1m none {self.path("d")}'
        os.mkdir(self.path('d'))
        if subprocess.run([*unshare, 'sh', '-c', mount], capture_output=True).returncode:
            self.skipTest('no mount namespaces here')
        self.gone.clear()
        p = subprocess.Popen([*unshare, 'sh', '-c', f'{mount} && cd d && {script}'],
                             cwd=self.tmp, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=dict(os.environ, LC_ALL='C'))
        r = self.finish(p)
        self.wait_gone()
        return r

    def test_local_disk_is_full_in_get(self):
        self.serve(FuseServer(directory(a=file(b'z' * 20000000), b=file(b'fine'))))
        client = ' '.join(self.command('get', '-r', '/', 'new'))
        status, out, err = self.small_disk(f'{client}; r=$?; ls -A new; exit $r')
        self.assertEqual(status, 1)
        self.assertIn("virtiofs-client: error writing 'new/a': No space left on "
                      "device; the incomplete 'new/a' was removed\n", err)
        self.assertIn(out, ('', 'b\n'))
        self.assertEqual(out == '', "'new/b'" in err)
        self.clean_server()

    @unittest.skipIf(os.geteuid(), 'needs root, to be somebody else')
    def test_unreadable_local_file(self):
        s = self.serve()
        self.write('src/a', b'a')
        os.chmod(self.write('src/secret', b's'), 0)
        os.chmod(self.tmp, 0o755)
        os.chmod(self.sock, 0o777)
        err = self.fails('put', '-r', 'src', '/', user=65534, group=65534)
        self.assertIn("cannot open 'src/secret' for reading: Permission denied", err)
        self.assertEqual(list(s.root.children[b'src'].children), [b'a'])

    def interrupt(self, op, *args):
        s = self.server
        reached, go_on = threading.Event(), threading.Event()
        real = getattr(s, op)

        def wait(nodeid, body):
            reached.set()
            go_on.wait(60)
            return real(nodeid, body)
        setattr(s, op, wait)
        self.gone.clear()
        p = self.start(*args)
        self.assertTrue(reached.wait(60))
        p.send_signal(signal.SIGINT)
        go_on.set()
        status, _, err = self.finish(p)
        self.wait_gone()
        self.assertEqual(status, -signal.SIGINT, err)
        self.clean_server()
        return err

    def test_interrupt_in_get(self):
        self.serve(FuseServer(directory(a=file(b'z' * 20000000))))
        err = self.interrupt('op_read', 'get', 'a')
        self.assertIn("incomplete './a' was removed", err)
        self.assertEqual(self.left(), [])

    def test_interrupt_in_put(self):
        self.serve()
        self.write('src/a', b'z' * 20000000)
        err = self.interrupt('op_write', 'put', 'src/a', '/')
        self.assertIn("incomplete '/a' was removed", err)
        self.assertEqual(self.server.root.children, {})

    def test_peer_that_never_answers(self):
        s = self.serve(FuseServer(directory(a=file(b'z' * 20000000))))
        s.op_read = None
        real = s.request

        def request(chain):
            if chain.data[4] != 15:
                real(chain)
        s.request = request
        err = self.fails('get', 'a', opts=('--timeout', '1'), clean=False)
        self.assertIn('timed out', err)
        self.assertIn("incomplete './a' was removed", err)
        self.assertEqual(self.left(), [])


if __name__ == '__main__':
    main()
