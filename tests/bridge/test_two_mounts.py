# SPDX-License-Identifier: LGPL-2.1-or-later
"""Locks between two mounts of one directory: by a server each, and by one
server with two sockets."""
import errno
import fcntl
import os
import signal
import time

from mount_case import MountCase, main


class TwoMounts(MountCase):
    """other is the second mount, and its server, if it has one."""

    def setUp(self):
        super().setUp()
        self.other = MountCase()
        self.other.setUp()
        self.addCleanup(self.other.doCleanups)
        os.rmdir(self.other.share)
        self.other.share = self.share
        with open(self.share + '/l', 'w', encoding='ascii'):
            pass

    def two_servers(self):
        self.serve()
        self.other.serve()

    def two_sockets(self):
        self.serve('--socket-path', self.other.sock)
        while not os.path.exists(self.other.sock):
            time.sleep(0.01)

    def end(self):
        for side in (self, self.other):
            side.umount()
            side.ended()
        for side in (self, self.other):
            if side.server:
                side.stop_server()

    def both_ways(self, test):
        """test(side, other side, name of a call) in all that there is."""
        for serve in (self.two_servers, self.two_sockets):
            serve()
            self.mount()
            self.other.mount()
            for a, b in ((self, self.other), (self.other, self)):
                for call in ('lockf', 'flock'):
                    with self.subTest(serve=serve.__name__, call=call):
                        test(a, b, getattr(fcntl, call))
            self.end()

    def refused(self, lock, f):
        with self.assertRaises(OSError) as e:
            lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.assertIn(e.exception.errno, (errno.EAGAIN, errno.EACCES))

    def test_signal_ends_a_wait_for_a_lock_of_another_mount(self):
        def signalled(a, b, lock):
            with open(a.mnt + '/l', 'r+', encoding='ascii') as f:
                lock(f, fcntl.LOCK_EX)
                p = b.lock_waiter(b.mnt + '/l', lock.__name__)
                p.send_signal(signal.SIGUSR1)
                self.assertEqual(b.outcome(p), 'EINTR')
                # Whoever lost patience gets it not afterwards either.
                lock(f, fcntl.LOCK_UN)
                with open(self.share + '/l', 'r+', encoding='ascii') as host:
                    lock(host, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.both_ways(signalled)

    def test_killed_waiter_ends(self):
        def killed(a, b, lock):
            with open(a.mnt + '/l', 'r+', encoding='ascii') as f:
                lock(f, fcntl.LOCK_EX)
                p = b.lock_waiter(b.mnt + '/l', lock.__name__)
                p.kill()
                p.communicate()
                self.assertEqual(p.returncode, -signal.SIGKILL)
                lock(f, fcntl.LOCK_UN)
                with open(self.share + '/l', 'r+', encoding='ascii') as host:
                    lock(host, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.both_ways(killed)

    def test_lock_of_another_mount_is_waited_for(self):
        def waited(a, b, lock):
            with open(a.mnt + '/l', 'r+', encoding='ascii') as f:
                lock(f, fcntl.LOCK_EX)
                with open(b.mnt + '/l', 'r+', encoding='ascii') as g:
                    self.refused(lock, g)
                p = b.lock_waiter(b.mnt + '/l', lock.__name__)
                lock(f, fcntl.LOCK_UN)
                self.assertEqual(p.stdout.readline(), 'locked\n')
                self.refused(lock, f)
                p.communicate('')
                lock(f, fcntl.LOCK_EX)
        self.both_ways(waited)


if __name__ == '__main__':
    main()
