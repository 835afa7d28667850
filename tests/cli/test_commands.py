# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each command does, seen from both sides."""
import json
import os
import stat
import subprocess
import time
import unittest

from client_case import ClientCase, main
from fuse_server import FuseServer, Node, directory, file, symlink


def small_tree():
    return directory(
        hello=file(b'Hello\n', 0o640),
        empty=file(),
        big=file(bytes(range(256)) * 20000),
        sub=directory(one=file(b'1', 0o600), two=file(b'22', 0o755),
                      deep=directory(three=file(b'333'))),
        link=symlink(b'sub/one'),
        abs=symlink(b'/sub'),
        out=symlink(b'/etc/passwd'),
        up=symlink(b'../../../hello'),
        loop=symlink(b'loop'),
        dangling=symlink(b'nowhere'),
        dotted=Node(stat.S_IFIFO | 0o644))


# Servers that lack this or that, all of which a kernel would get along with.
VARIANTS = {
    'full': {},
    'no_open': {'enosys': ('OPEN',)},
    'no_opendir': {'enosys': ('OPENDIR',)},
    'no_handles': {'enosys': ('OPEN', 'OPENDIR', 'CREATE', 'FLUSH')},
    'no_readdirplus': {'flags': 1 << 22},
    'enosys_readdirplus': {'enosys': ('READDIRPLUS',)},
    'no_create': {'enosys': ('CREATE',)},
    'small': {'max_write': 4096, 'max_pages': 1},
}


class Commands(ClientCase):
    variant = {}

    def setUp(self):
        super().setUp()
        self.serve(FuseServer(small_tree(), **self.variant))
        self.root = self.server.root

    def test_info(self):
        info = json.loads(self.ok('info', '--json'))
        self.assertEqual(info['tag'], 'scripted')
        self.assertEqual(info['request_queues'], 1)
        self.assertEqual(info['fuse_major'], 7)
        self.assertEqual(info['fuse_minor'], 38)
        self.assertIn('VERSION_1', info['virtio'])
        # a request of 128 descriptors has four that hold no page of data
        self.assertEqual(info['max_write'], min(self.server.max_write, 124 * 4096))
        text = self.ok('info')
        self.assertIn('tag:               scripted\n', text)
        self.assertIn('FUSE version:      7.38\n', text)

    def test_ls_sorts_and_hides(self):
        self.root.children[b'.hidden'] = file()
        names = sorted(n.decode() for n in self.root.children if n[:1] != b'.')
        self.assertEqual(self.ok('ls').split('\n')[:-1], names)
        self.assertIn('.hidden\n', self.ok('ls', '-A'))
        self.assertEqual(self.ok('ls', 'sub', 'hello').count('sub:\n'), 1)

    def test_ls_long(self):
        out = self.ok('ls', '-ln', 'hello', 'sub', 'out')
        self.assertRegex(out, r'-rw-r----- 1 0 0 6 Sep  9  2001 hello\n')
        self.assertRegex(out, r'-rwxr-xr-x 1 0 0 2 Sep  9  2001 two\n')
        self.assertRegex(out, r'drwxr-xr-x 1 0 0 0 Sep  9  2001 deep\n')
        self.assertRegex(out, r'lrwxrwxrwx .* out -> /etc/passwd\n')

    def test_ls_recursive(self):
        out = self.ok('ls', '-R', 'sub')
        self.assertEqual(out, 'sub:\ndeep\none\ntwo\n\nsub/deep:\nthree\n')

    def test_stat(self):
        out = self.ok('stat', 'hello')
        self.assertIn('  File: hello\n  Size: 6 ', out)
        self.assertIn('(0640/-rw-r-----)', out)
        self.assertIn('Modify: 2001-09-09 01:46:40.123456789 +0000', out)
        self.assertIn("link -> sub/one", self.ok('stat', 'link'))
        self.assertIn('Size: 1 ', self.ok('stat', '-L', 'link'))
        self.assertEqual(self.fails('stat', 'x'),
                         "virtiofs-client: cannot stat 'x': No such file or directory\n")

    def test_paths(self):
        for path in ('hello', '/hello', '//sub/../hello', './sub/./../hello',
                     '../../hello', 'up', 'abs/../hello'):
            self.assertEqual(self.ok('cat', path), 'Hello\n')
        self.assertEqual(self.ok('cat', 'abs/one', 'link'), '11')
        self.assertIn('Too many levels of symbolic links', self.fails('cat', 'loop'))
        self.assertIn('Not a directory', self.fails('cat', 'hello/'))
        self.assertIn('Not a directory', self.fails('cat', 'hello/x'))
        self.assertIn('No such file', self.fails('cat', 'out'))
        self.assertIn('Is a directory', self.fails('cat', 'sub'))
        self.assertIn('File name too long', self.fails('cat', 'x' * 2000))

    def test_forty_links_and_no_more(self):
        for i in range(41):
            self.root.children[b'l%d' % i] = symlink(b'l%d' % (i + 1) if i < 40 else b'hello')
        self.assertEqual(self.ok('cat', 'l1'), 'Hello\n')
        self.assertIn('Too many levels', self.fails('cat', 'l0'))

    def test_cat_big(self):
        out = self.start('cat', 'big').communicate()[0]
        self.assertEqual(out, bytes(self.root.children[b'big'].data))

    def test_get_file(self):
        os.umask(0o022)
        self.ok('get', 'hello')
        self.assertEqual(self.read('hello'), b'Hello\n')
        self.assertEqual(os.stat(self.path('hello')).st_mode & 0o7777, 0o640)
        self.ok('get', '/sub/two', 'other')
        self.assertEqual(self.read('other'), b'22')
        self.ok('get', 'link', 'copied')
        self.assertEqual(self.read('copied'), b'1')
        os.mkdir(self.path('d'))
        self.ok('get', 'big', 'd')
        self.assertEqual(self.read('d', 'big'), self.root.children[b'big'].data)
        self.assertEqual(os.listdir(self.path('d')), ['big'])

    def test_get_onto_a_file_replaces_it(self):
        self.write('there', b'old and longer')
        os.symlink('there', self.path('alias'))
        self.ok('get', 'hello', 'alias')
        self.assertEqual(self.read('there'), b'Hello\n')
        self.assertTrue(os.path.islink(self.path('alias')))

    def test_get_to_a_device_writes_into_it(self):
        self.ok('get', 'big', '/dev/null')
        self.assertTrue(stat.S_ISCHR(os.stat('/dev/null').st_mode))
        err = self.fails('get', 'big', '/dev/full')
        self.assertEqual(err, "virtiofs-client: error writing '/dev/full': "
                         "No space left on device\n")

    def test_get_refuses(self):
        self.assertIn("-r not specified; omitting directory 'sub'", self.fails('get', 'sub'))
        self.assertIn("cannot create 'nowhere/'", self.fails('get', 'hello', 'nowhere/'))
        self.assertIn('No such file', self.fails('get', 'hello', 'nowhere/x'))
        os.mkdir(self.path('hello'))
        self.assertIn('Is a directory', self.fails('get', 'hello'))
        os.symlink('gone', self.path('dangling'))
        self.fails('get', 'hello', 'dangling')
        self.assertFalse(os.path.exists(self.path('gone')))

    def same(self, node, path):
        st = os.lstat(path)
        self.assertEqual(stat.S_IFMT(st.st_mode), stat.S_IFMT(node.mode), path)
        if stat.S_ISLNK(st.st_mode):
            self.assertEqual(os.readlink(path).encode(), node.target)
            return
        self.assertEqual(st.st_mode, node.mode, path)
        self.assertEqual(st.st_mtime_ns, node.mtime[0] * 10**9 + node.mtime[1], path)
        if stat.S_ISREG(st.st_mode):
            with open(path, 'rb') as f:
                self.assertEqual(f.read(), node.data, path)
        elif node.children is not None:
            self.assertEqual(sorted(os.listdir(path)),
                             sorted(n.decode() for n in node.children))
            for name, child in node.children.items():
                self.same(child, os.path.join(path, name.decode()))

    def own(self, node):
        """As root the owners are kept: make them ours where we are not."""
        if os.geteuid():
            node.uid, node.gid = os.geteuid(), os.getegid()
        for child in (node.children or {}).values():
            self.own(child)

    def test_get_tree_becomes_the_name(self):
        self.own(self.root)
        self.root.children[b'sub'].mode = stat.S_IFDIR | 0o2550
        self.ok('get', '-r', '/', 'new')
        self.same(self.root, self.path('new'))
        self.ok('get', '-r', 'sub', 'new2')
        self.same(self.root.children[b'sub'], self.path('new2'))

    def test_get_tree_goes_inside_and_again(self):
        os.mkdir(self.path('d'))
        for _ in range(2):
            self.ok('get', '-r', 'sub', 'd')
            self.same(self.root.children[b'sub'], self.path('d', 'sub'))
        self.assertEqual(os.listdir(self.path('d')), ['sub'])

    def test_get_many_files_in_flight(self):
        for i in range(300):
            self.root.children[b'f%d' % i] = file(b'%d' % i)
        self.ok('get', '-r', '/', 'new')
        for i in range(300):
            self.assertEqual(self.read('new', 'f%d' % i), b'%d' % i)
        self.assertGreater(self.server.deepest, 4)

    def test_progress_on_a_terminal(self):
        self.root.children[b'long'] = file(bytes(3000000))
        real = self.server.op_read

        def slow(nodeid, body):
            time.sleep(1.5 if self.server.counts['READ'] == 5 else 0)
            return real(nodeid, body)
        self.server.op_read = slow
        master, slave = os.openpty()
        p = subprocess.Popen(self.command('get', 'long'), cwd=self.tmp, stderr=slave)
        os.close(slave)
        text = b''
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:     # the other end is closed
                break
            text += part
        os.close(master)
        self.assertEqual(p.wait(60), 0)
        self.assertRegex(text.decode(), r'\r0 files, [0-9.]+[BKM]? \(\d+%\), [0-9.]+[KM]?/s')
        self.assertTrue(text.endswith(b'\r\x1b[K'), text)

    def test_sparse_file_is_read_by_extents(self):
        data = bytearray(1 << 24)
        data[1 << 20:(1 << 20) + 5] = b'first'
        data[(1 << 23) + 4096:(1 << 23) + 4100] = b'next'
        node = file(bytes(data))
        node.blocks = 16
        self.root.children[b'sparse'] = node
        extents = [(1 << 20, (1 << 20) + 4096), (1 << 23, (1 << 23) + 8192)]

        def lseek(nodeid, body):
            _, off, whence = __import__('struct').unpack_from('<QQI', body)
            for start, end in extents:
                if off < end:
                    r = max(off, start) if whence == 3 else (end if off >= start else off)
                    return r.to_bytes(8, 'little')
            if whence == 3:
                raise OSError(6, 'ENXIO')
            return len(data).to_bytes(8, 'little')
        self.server.op_lseek = lseek
        self.ok('get', 'sparse')
        self.assertEqual(self.read('sparse'), data)
        self.assertLess(os.stat(self.path('sparse')).st_blocks, 1000)
        reads = self.server.counts['READ']
        self.assertLess(reads, 8 if not self.variant.get('max_pages') else 20)

    def test_put_file(self):
        self.write('a', b'from here', 0o600)
        self.ok('put', 'a', '/')
        self.assertEqual(self.root.children[b'a'].data, b'from here')
        self.assertEqual(self.root.children[b'a'].mode, stat.S_IFREG | 0o600)
        self.ok('put', 'a', 'sub')
        self.ok('put', 'a', 'hello')
        self.assertEqual(self.root.children[b'hello'].data, b'from here')
        self.ok('put', 'a', 'abs/new')
        sub = self.root.children[b'sub'].children
        self.assertEqual(sorted(sub), [b'a', b'deep', b'new', b'one', b'two'])

    def test_put_from_a_pipe(self):
        r, w = os.pipe()
        os.write(w, b'x' * 5000)
        os.close(w)
        self.ok('put', '/dev/stdin', 'piped', stdin=r)
        os.close(r)
        self.assertEqual(self.root.children[b'piped'].data, b'x' * 5000)

    def local_tree(self):
        self.write('t/one', b'1' * 700000, 0o640)
        self.write('t/d/two', b'2', 0o444)
        self.write('t/d/e/three', b'')
        os.symlink('/etc/passwd', self.path('t/link'))
        os.mkfifo(self.path('t/fifo'), 0o644)
        with open(self.write('t/sparse'), 'r+b') as f:
            f.seek(3 << 20)
            f.write(b'x')
            f.truncate(6 << 20)
        os.chmod(self.path('t/d'), 0o550)
        for name in ('t/one', 't/d/two', 't/d/e/three', 't/sparse', 't/fifo', 't/d/e', 't/d', 't'):
            os.utime(self.path(name), ns=(10**18 + 1, 10**18 + 2))

    def test_put_tree_becomes_the_name_and_goes_inside(self):
        self.local_tree()
        self.ok('put', '-r', 't', 'new')
        self.same(self.root.children[b'new'], self.path('t'))
        self.assertLess(self.server.counts['WRITE'], 1000)
        for _ in range(2):
            self.ok('put', '-r', 't', 'sub')
            self.same(self.root.children[b'sub'].children[b't'], self.path('t'))

    def test_put_dot_copies_the_contents(self):
        self.write('x', b'y')
        self.write('in/f', b'1')
        self.ok('put', '-r', 'in/.', 'sub')
        self.assertIn(b'f', self.root.children[b'sub'].children)

    @unittest.skipIf(os.geteuid(), 'needs root to have files of others')
    def test_put_and_get_keep_owner_and_set_id_bits_for_root(self):
        self.write('t/s', b'1')
        os.chown(self.path('t/s'), 123, 456)
        os.chmod(self.path('t/s'), 0o6755)
        self.ok('put', '-r', 't', 'new')
        n = self.root.children[b'new'].children[b's']
        self.assertEqual((n.uid, n.gid, n.mode & 0o7777), (123, 456, 0o6755))
        self.ok('get', '-r', 'new', 'back')
        st = os.stat(self.path('back/s'))
        self.assertEqual((st.st_uid, st.st_gid, st.st_mode & 0o7777), (123, 456, 0o6755))

    @unittest.skipIf(os.geteuid(), 'needs root, to be somebody else')
    def test_somebody_else_keeps_what_is_his_to_keep(self):
        self.write('t/s', b'1', 0o6755)
        os.chown(self.path('t/s'), 123, 456)
        os.chmod(self.path('t/s'), 0o6755)
        os.chmod(self.tmp, 0o777)
        os.chmod(self.sock, 0o777)
        who = {'user': 65534, 'group': 65534, 'extra_groups': ()}
        self.root.children[b'sub'].children[b'mine'] = n = file(b'x', 0o4755)
        n.uid = n.gid = 65534
        self.root.children[b'sub'].children[b'other'] = n = file(b'x', 0o4755)
        n.uid = 123
        self.ok('get', '-r', 'sub', 'mysub', **who)
        self.assertEqual(os.stat(self.path('mysub/mine')).st_mode & 0o7777, 0o4755)
        self.assertEqual(os.stat(self.path('mysub/other')).st_mode & 0o7777, 0o755)
        self.ok('put', '-r', 't', 'new', **who)
        n = self.root.children[b'new'].children[b's']
        self.assertEqual((n.uid, n.mode & 0o7777), (65534, 0o755))

    def test_put_refuses(self):
        self.write('a', b'a')
        os.mkdir(self.path('d'))
        self.assertIn("omitting directory 'd'", self.fails('put', 'd', '/'))
        self.assertIn('cannot create', self.fails('put', 'a', 'none/a'))
        self.assertIn('cannot create', self.fails('put', 'a', 'none/'))
        self.root.children[b'a'] = directory()
        self.root.children[b'd'] = file(b'keep')
        self.assertIn('Not a directory', self.fails('put', '-r', 'd', '/'))
        self.write('e/a', b'a')
        self.root.children[b'e'] = directory(a=directory())
        self.assertIn('Is a directory', self.fails('put', '-r', 'e', '/'))
        self.assertEqual(self.root.children[b'd'].data, b'keep')

    def test_mkdir(self):
        os.umask(0o022)
        self.ok('mkdir', 'new')
        self.assertEqual(self.root.children[b'new'].mode, stat.S_IFDIR | 0o755)
        self.assertEqual(self.fails('mkdir', 'new'), "virtiofs-client: cannot create "
                         "directory 'new': File exists\n")
        self.ok('mkdir', '-p', 'new/a/b/c', '/new/a/b/c/')
        self.ok('mkdir', '-p', 'abs/../sub/x')
        self.assertIn(b'x', self.root.children[b'sub'].children)
        self.assertIn('File exists', self.fails('mkdir', '-p', 'hello'))
        self.assertIn('Not a directory', self.fails('mkdir', '-p', 'hello/x'))

    def test_rm(self):
        self.ok('rm', 'hello', 'link')
        self.assertIn(b'one', self.root.children[b'sub'].children)
        self.assertEqual(self.fails('rm', 'sub'),
                         "virtiofs-client: cannot remove 'sub': Is a directory\n")
        self.assertIn('No such file', self.fails('rm', 'hello'))
        self.ok('rm', '-f', 'hello')
        for i in range(200):
            self.root.children[b'sub'].children[b'%d' % i] = file()
        self.ok('rm', '-r', 'sub')
        self.assertNotIn(b'sub', self.root.children)
        for path in ('/', '.', 'x/..', ''):
            self.assertIn('refusing', self.fails('rm', '-r', path))

    def test_mv(self):
        self.ok('mv', 'hello', 'renamed')
        self.ok('mv', 'renamed', 'sub')
        self.ok('mv', '/sub/renamed', 'abs/../empty')
        self.assertEqual(self.root.children[b'empty'].data, b'Hello\n')
        self.assertIn("cannot move 'none' to 'x'", self.fails('mv', 'none', 'x'))
        self.assertIn('Not a directory', self.fails('mv', 'empty', 'none/'))

    def test_ln(self):
        self.ok('ln', 'hello', 'hard')
        self.assertIs(self.root.children[b'hard'], self.root.children[b'hello'])
        self.ok('ln', '-s', '../any where', 'sub/soft')
        self.assertEqual(self.root.children[b'sub'].children[b'soft'].target, b'../any where')
        self.ok('ln', 'hello', 'sub')
        self.assertIn(b'hello', self.root.children[b'sub'].children)
        self.assertIn('File exists', self.fails('ln', '-s', 'x', 'hello'))

    def test_df(self):
        self.assertEqual(self.ok('df').split('\n')[1].split(),
                         ['scripted', '4000', '2400', '1200', '67%'])
        self.assertEqual(self.ok('df', '-i').split('\n')[1].split(),
                         ['scripted', '100', '50', '50', '50%'])


# What opens, lists, reads or writes: the rest is the same for all servers.
VARIED = ('cat_big', 'get_file', 'get_many_files_in_flight',
          'get_tree_becomes_the_name', 'get_tree_goes_inside_and_again',
          'ls_long', 'ls_recursive', 'put_file', 'put_from_a_pipe',
          'put_tree_becomes_the_name_and_goes_inside', 'rm',
          'sparse_file_is_read_by_extents')


def variant_cases():
    for name, variant in VARIANTS.items():
        if name == 'full':
            continue
        body = {t: None for t in dir(Commands)
                if t.startswith('test_') and t[5:] not in VARIED}
        yield type(f'Commands_{name}', (Commands,), body | {'variant': variant})


for _case in variant_cases():
    globals()[_case.__name__] = _case
del _case

if __name__ == '__main__':
    main()
