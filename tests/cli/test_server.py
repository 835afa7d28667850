# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtiofs-client against virtiofs-server: real files, real full disks."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
import unittest

from client_case import CLIENT, ClientCase, main

SERVER = os.environ.get('VIRTIOFS_SERVER', 'virtiofs-server')


class Served(ClientCase):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path('share'))
        self.daemon = None
        self.addCleanup(self.stop)

    def stop(self, signo=signal.SIGTERM):
        if not self.daemon:
            return b''
        self.daemon.send_signal(signo)
        log = self.daemon.communicate(timeout=60)[1]
        self.daemon = None
        self.assertNotIn(b'Sanitizer', log)
        return log

    def serve_share(self, *opts, before=''):
        """before: shell commands, in a mount namespace of the server's own."""
        command = [SERVER, '--shared-dir', self.path('share'), '--socket-path',
                   self.sock, '--tag', 'share', '--sandbox', 'none', *opts]
        if before:
            ns = ['unshare', '-m'] if os.geteuid() == 0 else ['unshare', '-rm']
            if subprocess.run([*ns, 'sh', '-c', before], capture_output=True).returncode:
                self.skipTest('no mount namespaces here')
            command = [*ns, 'sh', '-c', before + ' && exec "$@"', 'sh', *command]
        self.daemon = subprocess.Popen(command, stderr=subprocess.PIPE)
        while not os.path.exists(self.sock):
            self.assertIsNone(self.daemon.poll(), 'the server ended')
            time.sleep(0.01)

    # covers: VHU-BTH-24
    def test_conventions_of_a_back_end_program(self):
        """It stays where it was started, keeps fds 0 to 2, ends when told to."""
        r = subprocess.run([SERVER, '--print-capabilities'], capture_output=True, check=True)
        self.assertEqual(json.loads(r.stdout)['type'], 'fs')
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path('passed'))
        listener.listen()
        for where in (['--socket-path', self.sock], ['--fd', str(listener.fileno())]):
            self.daemon = subprocess.Popen(
                [SERVER, '--shared-dir', self.path('share'), '--tag', 'share',
                 '--sandbox', 'none', *where], pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            pid = self.daemon.pid
            fds = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in range(3)]
            peer = self.sock if where[0] == '--socket-path' else self.path('passed')
            while not os.path.exists(peer):
                time.sleep(0.01)
            command = [CLIENT, 'vhost-user:' + peer, 'info']
            self.assertIn(b'share', subprocess.run(command, capture_output=True, check=True).stdout)
            self.assertIsNone(self.daemon.poll())
            self.assertEqual(os.getsid(pid), os.getsid(0))
            with open(f'/proc/{pid}/status', encoding='ascii') as f:
                self.assertIn(f'PPid:\t{os.getpid()}\n', f.readlines())
            self.assertEqual([os.readlink(f'/proc/{pid}/fd/{fd}') for fd in range(3)], fds)
            self.daemon.terminate()
            self.daemon.communicate(timeout=60)
            self.assertEqual(self.daemon.returncode, 0)
            self.daemon = None

    def manifest(self, top):
        found = {}
        for base, dirs, files in os.walk(os.fsencode(self.path(top))):
            for name in [b'.'] + dirs + files:
                path = os.path.join(base, name)
                st = os.lstat(path)
                what = [st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns]
                if stat.S_ISREG(st.st_mode):
                    with open(path, 'rb') as f:
                        what.append(f.read())
                elif stat.S_ISLNK(st.st_mode):
                    what.append(os.readlink(path))
                found[os.path.relpath(path, os.fsencode(self.path(top)))] = what
        return found

    def test_tree_there_and_back(self):
        self.write('t/plain', os.urandom(300001), 0o640)
        self.write('t/line\nbreak \'and" \u00fc', b'odd name')
        self.write('t/' + 'n' * 255, b'long name')
        self.write('t/set', b'id', 0o6755)
        os.chmod(self.path('t/set'), 0o6755)
        deep = 't' + '/d' * 150
        self.write(deep + '/bottom', b'deep')
        for i in range(3000):
            self.write('t/many/%d' % i, b'%d' % i)
        os.symlink('/nowhere', self.path('t/link'))
        os.utime(self.path('t/link'), ns=(10**18, 10**18 + 5), follow_symlinks=False)
        os.chmod(self.path('t/d/d'), 0o3750)
        os.utime(self.path('t/d'), ns=(10**18, 10**18 + 7))
        os.utime(self.path('t'), ns=(10**18, 10**18 + 9))
        if os.geteuid() == 0:
            os.chown(self.path('t/plain'), 1234, 5678)
            os.lchown(self.path('t/link'), 1234, 5678)
        self.serve_share('--queues', '2', '--packed')
        want = self.manifest('t')
        self.ok('put', '-r', 't', 'new', opts=('--queues', '2'))
        self.assertEqual(self.manifest('share/new'), want)
        self.ok('get', '-r', 'new', 'back', opts=('--packed',))
        self.assertEqual(self.manifest('back'), want)
        self.ok('rm', '-r', 'new')
        self.assertEqual(os.listdir(self.path('share')), [])

    def test_answers_in_order(self):
        for i in range(300):
            self.write('t/%d' % i, os.urandom(i * 100))
        want = self.manifest('t')
        self.serve_share('--in-order', '--packed', '--queues', '2')
        for opts in ([], ['--packed']):
            opts = ('--queues', '2', '--in-order', *opts)
            info = json.loads(self.ok('info', '--json', opts=opts))
            self.assertIn('IN_ORDER', info['virtio'])
            self.ok('put', '-r', 't', 'new', opts=opts)
            self.assertEqual(self.manifest('share/new'), want)
            self.ok('get', '-r', 'new', 'back', opts=opts)
            self.assertEqual(self.manifest('back'), want)
            self.ok('rm', '-r', 'new', opts=opts)
            subprocess.run(['rm', '-r', self.path('back')], check=True)
        self.assertNotIn('IN_ORDER', json.loads(self.ok('info', '--json'))['virtio'])

    def test_many_queues_or_some_of_them(self):
        for i in range(300):
            self.write('t/%d' % i, os.urandom(i * 100))
        self.serve_share('--queues', '64')
        want = self.manifest('t')
        for n in ('64', '3'):
            info = json.loads(self.ok('info', '--json', opts=('--queues', n)))
            self.assertEqual(info['request_queues'], int(n))
            self.ok('put', '-r', 't', 'new' + n, opts=('--queues', n))
            self.assertEqual(self.manifest('share/new' + n), want)
            self.ok('get', '-r', 'new' + n, 'back' + n, opts=('--queues', n))
            self.assertEqual(self.manifest('back' + n), want)

    def test_stats_tell_what_went_by_each_queue(self):
        self.write('share/f', os.urandom(3000000))
        self.serve_share('--queues', '2')
        status, out, err = self.run_client(
            'get', 'f', 'g', opts=('--queues', '2', '--stats'))
        self.assertEqual((status, out), (0, ''))
        self.assertRegex(err, r'(?m)^queue 0: [1-9]\d* requests')
        for n in (1, 2):
            got = re.search(r'(?m)^queue %d: (\d+) requests, \d+ bytes; '
                            r'(\d+) replies, (\d+) bytes, 0 errors' % n, err)
            self.assertEqual(got[1], got[2])
            self.assertGreater(int(got[3]), 500000)
        reads = re.search(r'(?m)^READ +(\d+) +[\d.]+ +[\d.]+ +[\d.]+$', err)
        self.assertGreaterEqual(int(reads[1]), 3)
        self.assertNotIn('queue', self.run_client('get', 'f', 'h')[2])

    def test_holes_stay_holes(self):
        with open(self.path('f'), 'wb') as f:
            f.write(b'start')
            f.seek(40 << 20)
            f.write(b'middle')
            f.truncate(80 << 20)
        used = os.stat(self.path('f')).st_blocks
        if used > 100:
            self.skipTest('no holes in this file system')
        self.serve_share()
        self.ok('put', 'f', 'g')
        self.ok('get', 'g', 'h')
        for name in ('share/g', 'h'):
            self.assertEqual(self.read(name), self.read('f'))
            self.assertLessEqual(os.stat(self.path(name)).st_blocks, used + 64)

    def test_full_disk_of_the_server(self):
        tmpfs = f'mount -t tmpfs -o size=1m none {self.path("share")} && echo kept >{self.path("share")}/f'
        self.serve_share(before=tmpfs)
        self.write('f', b'x' * 5000000)
        self.assertEqual(self.fails('put', 'f', '/'),
                         "virtiofs-client: error writing '/f': No space left on device; "
                         "the incomplete '/f' was removed\n")
        self.assertEqual(self.ok('ls', '-A'), 'f\n')
        self.assertEqual(self.ok('cat', 'f'), 'kept\n')
        os.mkdir(self.path('t'))
        for i in range(30):
            self.write('t/%02d' % i, b'y' * 100000)
        err = self.fails('put', '-r', 't', '/')
        there = self.ok('ls', '-A', 't').split()
        for i in range(30):
            name = '%02d' % i
            self.assertNotEqual(name in there, f"'/t/{name}'" in err, (name, err, there))
        for name in there:
            self.assertEqual(self.ok('cat', 't/' + name), 'y' * 100000)

    def killed_while(self, folder, *args):
        """The server dies when an unfinished copy in folder has 4 MiB."""
        p = self.start(*args)
        while not any(f.startswith('.virtiofs-client.') and
                      os.stat(self.path(folder, f)).st_size > 4 << 20
                      for f in os.listdir(self.path(folder))):
            self.assertIsNone(p.poll(), 'it ended too early')
            time.sleep(0.001)
        self.stop(signal.SIGKILL)
        status, _, err = self.finish(p)
        self.assertEqual(status, 1)
        return err

    def big_file(self, name):
        with open(self.path(name), 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 2 << 30)

    def test_server_killed_in_get(self):
        self.big_file('share/f')
        self.serve_share()
        os.mkdir(self.path('d'))
        err = self.killed_while('d', 'get', 'f', 'd')
        self.assertIn("error reading 'f': Transport endpoint is not connected; "
                      "the incomplete 'd/f' was removed\n", err)
        self.assertEqual(os.listdir(self.path('d')), [])

    def test_server_killed_in_put(self):
        self.big_file('f')
        self.serve_share()
        err = self.killed_while('share', 'put', 'f', 'g')
        left, = os.listdir(self.path('share'))
        self.assertIn("error writing 'g': Transport endpoint is not connected; the "
                      f"incomplete copy may be left as '{left}'\n", err)

    def test_read_only_share(self):
        self.write('share/f', b'1')
        self.serve_share('--readonly')
        self.write('g', b'2')
        self.assertIn("cannot create regular file '/g': Read-only file system",
                      self.fails('put', 'g', '/'))
        self.assertIn('Read-only', self.fails('rm', 'f'))
        self.assertIn('Read-only', self.fails('mkdir', 'd'))
        self.assertEqual(self.ok('cat', 'f'), '1')


if __name__ == '__main__':
    main()
