# SPDX-License-Identifier: LGPL-2.1-or-later
"""A share of virtiofs-server as a mount of this host, through /dev/fuse."""
import errno
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'cli'))
from fuse_server import FuseServer
from vhost_peer import VhostPeer

from mount_case import MountCase, TIMEOUT, main, mounts


def tree(top):
    """Everything about the files below a folder, by name."""
    found = {}
    for base, dirs, files in os.walk(os.fsencode(top)):
        for name in [b'.'] + dirs + files:
            path = os.path.join(base, name)
            st = os.lstat(path)
            what = [st.st_mode, st.st_uid, st.st_gid, st.st_nlink]
            if stat.S_ISREG(st.st_mode):
                with open(path, 'rb') as f:
                    what += [st.st_mtime_ns, f.read()]
            elif stat.S_ISLNK(st.st_mode):
                what += [st.st_mtime_ns, os.readlink(path)]
            found[os.path.relpath(path, os.fsencode(top))] = what
    return found


class Mount(MountCase):
    def make_tree(self):
        top = self.path('t')
        os.makedirs(top + '/d' * 60)
        os.mkdir(top + '/many')
        for i in range(1500):
            with open(f'{top}/many/{i}', 'wb') as f:
                f.write(b'%d' % i)
        for size in (0, 1, 535, 536, 537, 577, 4095, 4096, 4097, 65536, 1048577, 3000001):
            with open(f'{top}/size-{size}', 'wb') as f:
                f.write(os.urandom(size))
        os.chmod(top + '/size-1', 0o6755)
        os.chown(top + '/size-4096', 1234, 5678)
        os.symlink('/' + 'x' * 3000, top + '/long-link')
        os.symlink('size-1', top + '/link')
        os.link(top + '/size-0', top + '/hard')
        os.mkfifo(top + '/fifo')
        with open(top + '/' + 'n' * 255, 'w', encoding='ascii') as f:
            f.write('long')
        return top

    def copied(self, *opts):
        top = self.make_tree()
        self.mount(opts=opts)
        subprocess.run(['cp', '-a', top, self.mnt + '/t'], check=True, timeout=TIMEOUT)
        want = tree(top)
        self.assertEqual(tree(self.mnt + '/t'), want)
        self.umount()
        self.assertEqual(self.ended(), '')
        self.assertEqual(tree(self.share + '/t'), want)
        # What the server has, and no page of this kernel.
        self.mount(opts=opts)
        self.assertEqual(tree(self.mnt + '/t'), want)
        subprocess.run(['rm', '-r', self.mnt + '/t'], check=True, timeout=TIMEOUT)
        self.assertEqual(os.listdir(self.share), [])
        self.umount()
        self.assertEqual(self.ended(), '')

    def test_tree_there_and_back(self):
        self.serve()
        self.copied()

    def test_tree_by_two_queues_packed(self):
        self.serve('--queues', '2', '--packed')
        self.copied('--queues', '2', '--packed')

    def test_tree_by_a_small_ring(self):
        self.serve()
        self.copied('--queue-size', '8', '--no-indirect', '--no-event-idx')

    def test_direct_io(self):
        self.serve('--allow-direct-io')
        self.mount()
        name = self.mnt + '/f'
        subprocess.run(['dd', 'if=/dev/urandom', 'of=' + name, 'bs=1M', 'count=5',
                        'oflag=direct', 'status=none'], check=True, timeout=TIMEOUT)
        out = subprocess.run(['dd', 'if=' + name, 'bs=256K', 'iflag=direct', 'status=none'],
                             check=True, timeout=TIMEOUT, stdout=subprocess.PIPE).stdout
        with open(self.share + '/f', 'rb') as f:
            self.assertEqual(out, f.read())
        self.umount()
        self.ended()

    def test_xattrs(self):
        self.serve()
        self.mount()
        name = self.mnt + '/f'
        with open(name, 'w', encoding='ascii'):
            pass
        for size in (0, 1, 530, 3000):
            value = os.urandom(size)
            os.setxattr(name, 'user.x', value)
            self.assertEqual(os.getxattr(name, 'user.x'), value)
            self.assertEqual(os.getxattr(self.share + '/f', 'user.x'), value)
        self.assertEqual(os.listxattr(name), ['user.x'])
        os.removexattr(name, 'user.x')
        with self.assertRaises(OSError) as e:
            os.getxattr(name, 'user.x')
        self.assertEqual(e.exception.errno, errno.ENODATA)
        self.umount()
        self.ended()

    # ---- options ----

    def test_defaults_of_root(self):
        self.serve()
        self.mount()
        source, kind, options = mounts()[self.mnt]
        self.assertEqual((source, kind), ('vhost-user:' + self.sock, 'fuse.virtiofs'))
        for o in ('rw', 'nosuid', 'nodev', 'allow_other', 'default_permissions'):
            self.assertIn(o, options)
        self.umount()
        self.ended()

    def test_options(self):
        self.serve()
        self.mount('-o', 'ro,suid,dev,noexec,noatime,x-any,_netdev', '-o',
                   'fsname=there,subtype=here,allow_other,max_read=65536')
        source, kind, options = mounts()[self.mnt]
        self.assertEqual((source, kind), ('there', 'fuse.here'))
        for o in ('ro', 'noexec', 'noatime', 'allow_other', 'max_read=65536'):
            self.assertIn(o, options)
        for o in ('nosuid', 'nodev', 'default_permissions'):
            self.assertNotIn(o, options)
        with self.assertRaises(OSError) as e:
            os.mkdir(self.mnt + '/d')
        self.assertEqual(e.exception.errno, errno.EROFS)
        self.umount()
        self.ended()

    def test_default_permissions_are_judged_by_the_kernel(self):
        self.serve()
        os.chmod(self.share, 0o755)
        self.mount()
        p = subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups',
                            'mkdir', self.mnt + '/d'], capture_output=True, timeout=TIMEOUT)
        self.assertIn(b'Permission denied', p.stderr)
        os.chmod(self.mnt, 0o777)
        subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups',
                        'mkdir', self.mnt + '/d'], check=True, timeout=TIMEOUT)
        self.assertEqual(os.stat(self.share + '/d').st_uid, 65534)
        self.umount()
        self.ended()

    def fails(self, *args):
        p = subprocess.run(self.command(*args), capture_output=True, timeout=TIMEOUT)
        self.assertEqual(p.returncode, 1)
        self.assertNotIn(self.mnt, mounts())
        return p.stderr.decode()

    def test_no_device(self):
        for args in ([], ['-f']):
            self.assertIn('cannot connect to', self.fails(*args))

    def test_unknown_option(self):
        self.serve()
        self.assertIn("unknown mount option 'rx'", self.fails('-o', 'ro,rx'))

    # ---- background ----

    def test_background(self):
        self.serve()
        subprocess.run(self.command(), check=True, timeout=TIMEOUT)
        # It is live when the parent has ended.
        self.assertIn(self.mnt, mounts())
        with open(self.mnt + '/f', 'w', encoding='ascii') as f:
            f.write('text')
        self.umount()
        self.stop_server()
        with open(self.share + '/f', encoding='ascii') as f:
            self.assertEqual(f.read(), 'text')

    # ---- the end ----

    def test_signals_unmount(self):
        self.serve()
        for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.mount()
            with open(self.mnt + '/f', 'w', encoding='ascii') as f:
                f.write(str(signo))
            self.client.send_signal(signo)
            self.ended()
            with open(self.share + '/f', encoding='ascii') as f:
                self.assertEqual(f.read(), str(signo))

    def test_signal_while_in_use(self):
        self.serve()
        self.mount()
        fd = os.open(self.mnt + '/f', os.O_WRONLY | os.O_CREAT)
        os.write(fd, b'1')
        self.client.send_signal(signal.SIGTERM)
        self.ended()
        for call in (lambda: os.write(fd, b'2'), lambda: os.close(fd)):
            with self.assertRaises(OSError) as e:
                call()
            self.assertIn(e.exception.errno, (errno.ENOTCONN, errno.ECONNABORTED))

    def test_umount_in_use_is_refused(self):
        self.serve()
        self.mount()
        with open(self.mnt + '/f', 'wb', buffering=0) as f:
            p = subprocess.run(['umount', self.mnt], capture_output=True, timeout=TIMEOUT)
            self.assertIn(b'busy', p.stderr)
            f.write(b'1')
        self.umount()
        self.ended()

    def test_stats_of_the_mount(self):
        self.serve('--queues', '2')
        self.mount(opts=('--queues', '2', '--stats'))
        with open(self.mnt + '/f', 'wb') as f:
            f.write(os.urandom(3 << 20))
        os.unlink(self.mnt + '/f')
        self.umount()
        err = self.ended()
        sent = re.findall(r'(?m)^queue [12]: \d+ requests, (\d+) bytes; .* '
                          r'[1-9]\d* kicks, [1-9]\d* calls, ', err)
        self.assertGreater(sum(map(int, sent)), 3 << 20, err)
        self.assertRegex(err, r'(?m)^UNLINK +1 +[\d.]+ +[\d.]+ +[\d.]+$')
        self.assertRegex(err, r'(?m)^WRITE +[1-9]')

    def test_connection_aborted(self):
        self.serve()
        self.mount()
        dev = os.minor(os.stat(self.mnt).st_dev)
        control = f'/sys/fs/fuse/connections/{dev}/abort'
        if not os.path.exists(control):
            subprocess.run(['mount', '-t', 'fusectl', 'none', '/sys/fs/fuse/connections'],
                           capture_output=True)
        if not os.path.exists(control):
            self.skipTest('no fusectl here')
        with open(control, 'w', encoding='ascii') as f:
            f.write('1')
        self.assertIn('abort', self.ended(1))

    def test_signal_while_the_server_hangs(self):
        self.serve()
        self.mount()
        os.stat(self.mnt)  # INIT is over
        self.server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.server.pid, os.WSTOPPED)  # all its threads
        p = self.helper('import errno, os, sys\ntry:\n    os.stat(sys.argv[1])\n'
                        'except OSError as e:\n    print(errno.errorcode[e.errno])',
                        self.mnt + '/f')
        self.wait_blocked(p)
        self.client.send_signal(signal.SIGTERM)
        self.ended()
        self.assertIn(self.outcome(p), ('ENOTCONN', 'ECONNABORTED'))
        self.server.send_signal(signal.SIGCONT)
        self.stop_server()

    # ---- what the server hears ----

    def scripted(self):
        server, gone = FuseServer(), threading.Event()
        server.lost = gone.set
        self.addCleanup(VhostPeer(self.sock, server).close)
        return server, gone

    def test_one_init_and_one_destroy(self):
        server, gone = self.scripted()
        self.mount()
        os.listdir(self.mnt)
        self.umount()
        self.ended()
        self.assertTrue(gone.wait(TIMEOUT))
        self.assertEqual((server.counts['INIT'], server.destroyed), (1, 1))
        self.assertEqual((server.mistakes, server.wrong_queue), ([], []))

    def test_no_mount_no_session(self):
        server, gone = self.scripted()
        self.assertIn('mount at', self.fails('-o', 'max_read=none'))
        self.assertTrue(gone.wait(TIMEOUT))
        self.assertEqual((server.counts['INIT'], server.destroyed), (0, 0))

    # ---- somebody who is not root ----

    def test_user_with_fusermount3(self):
        if not shutil.which('fusermount3'):
            self.skipTest('no fusermount3')
        self.serve()
        os.chmod(self.share, 0o777)
        os.chmod(self.sock, 0o666)
        os.chown(self.mnt, 65534, 65534)
        bin_dir = self.copy_for_all()
        # Everybody may open /dev/fuse, in a namespace of its own. Mount by mount,
        # since / need not be one.
        script = f'''set -e
            awk '{{ print $5 }}' /proc/self/mountinfo |
                while read -r m; do mount --make-private "$m" 2>/dev/null || :; done
            mknod -m 666 {self.tmp}/fuse c 10 229
            mount --bind {self.tmp}/fuse /dev/fuse
            exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -ec "$1" "$0"'''
        user = f'''cd /
            {bin_dir}/virtiofs-client vhost-user:{self.sock} mount {self.mnt} -o noexec
            grep ' {self.mnt} ' /proc/mounts
            echo text >{self.mnt}/f
            fusermount3 -u {self.mnt}
            ! grep ' {self.mnt} ' /proc/mounts'''
        p = subprocess.run(['unshare', '-m', '--propagation', 'unchanged',
                            'sh', '-c', script, 'sh', user],
                           env=dict(os.environ, LD_LIBRARY_PATH=bin_dir), timeout=TIMEOUT,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = p.stdout.decode()
        self.assertEqual(p.returncode, 0, out)
        source, _, kind, options = out.split()[:4]
        self.assertEqual((source, kind), ('vhost-user:' + self.sock, 'fuse.virtiofs'))
        self.assertIn('noexec', options.split(','))
        self.assertIn('user_id=65534', options.split(','))
        self.assertEqual(os.stat(self.share + '/f').st_uid, 65534)

    # ---- locks, and signals to who waits ----

    def waiter(self):
        """(file with a lock of ours, process that waits for it)"""
        f = open(self.mnt + '/l', 'w+', encoding='ascii')
        self.addCleanup(f.close)
        fcntl.lockf(f, fcntl.LOCK_EX)
        return f, self.lock_waiter(self.mnt + '/l')

    def test_lock_is_waited_for(self):
        self.serve()
        self.mount()
        f, p = self.waiter()
        fcntl.lockf(f, fcntl.LOCK_UN)
        self.assertEqual(p.stdout.readline(), 'locked\n')
        p.communicate(timeout=TIMEOUT)
        f.close()
        self.umount()
        self.ended()

    def test_signal_interrupts_a_wait_for_a_lock(self):
        self.serve()
        self.mount()
        f, p = self.waiter()
        p.send_signal(signal.SIGUSR1)
        self.assertEqual(self.outcome(p), 'EINTR')
        # And the lock was not granted after all.
        fcntl.lockf(f, fcntl.LOCK_UN)
        with open(self.share + '/l', 'r+', encoding='ascii') as g:
            fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
        f.close()
        self.umount()
        self.ended()

    # ---- the device dies ----

    def test_server_killed(self):
        self.serve('--queues', '2')
        self.mount(opts=('--queues', '2'))
        f, p = self.waiter()
        self.stop_server(signal.SIGKILL)
        self.assertEqual(self.outcome(p), 'EIO')
        for _ in range(20):
            with self.assertRaises(OSError) as e:
                os.stat(self.mnt + '/none')
            self.assertEqual(e.exception.errno, errno.EIO)
        with self.assertRaises(OSError) as e:
            f.close()
        self.assertEqual(e.exception.errno, errno.EIO)
        self.umount()
        self.assertIn('gone', self.ended(1))

    def test_umount_after_the_server_was_killed_with_data_unwritten(self):
        self.serve()
        self.mount()
        with open(self.mnt + '/f', 'wb') as f:
            f.write(os.urandom(5 << 20))
            self.stop_server(signal.SIGKILL)
            with self.assertRaises(OSError):
                f.write(os.urandom(5 << 20))
                f.flush()
                os.fsync(f.fileno())
            try:
                f.close()
            except OSError:
                pass
        self.umount()
        self.ended(1)


if __name__ == '__main__':
    main()
