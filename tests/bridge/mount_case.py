# SPDX-License-Identifier: LGPL-2.1-or-later
"""Test cases with a mount of virtiofs-server's share by virtiofs-client."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CLIENT = os.environ.get('VIRTIOFS_CLIENT', 'virtiofs-client')
SERVER = os.environ.get('VIRTIOFS_SERVER', 'virtiofs-server')
TIMEOUT = 120

# A job in the background or under nohup has some of them ignored, and so has
# what it starts; but what is caught here is back to its default there.
for end in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(end) == signal.SIG_IGN:
        signal.signal(end, lambda signo, frame: sys.exit(128 + signo))


# Waits for a lock that another process holds; says what became of it.
WAIT_LOCK = '''
import errno, fcntl, signal, sys
def on_signal(signo, frame):
    raise InterruptedError(errno.EINTR, 'signal')
signal.signal(signal.SIGUSR1, on_signal)
f = open(sys.argv[1], 'r+')
print('ready', flush=True)
try:
    getattr(fcntl, sys.argv[2])(f, fcntl.LOCK_EX)
    print('locked', flush=True)
    sys.stdin.read()
except OSError as e:
    print(errno.errorcode[e.errno], flush=True)
'''


def mounts():
    """{directory: [source, type, options]}"""
    with open('/proc/self/mounts', encoding='utf-8') as f:
        return {w[1]: [w[0], w[2], w[3].split(',')]
                for w in (line.split() for line in f)}


def reason_to_skip():
    if os.geteuid() != 0:
        return 'only root may mount'
    try:
        os.close(os.open('/dev/fuse', os.O_RDWR))
    except OSError as e:
        return f'/dev/fuse: {e.strerror}'
    return ''


class MountCase(unittest.TestCase):
    """share is the server's folder, mnt the mount's; the client runs in the
    foreground unless a test starts it otherwise."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix='vfs-mnt-', dir='/var/tmp')
        self.sock = self.path('s')
        self.share, self.mnt = self.path('share'), self.path('mnt')
        os.mkdir(self.share)
        os.mkdir(self.mnt)
        os.chmod(self.tmp, 0o755)
        self.server = self.client = None
        self.helpers = []
        self.addCleanup(self.clean)

    def clean(self):
        for p in [*self.helpers, self.client, self.server]:
            if p and p.poll() is None:
                p.kill()
            if p:
                p.communicate()
        while self.mnt in mounts():
            subprocess.run(['umount', '-l', self.mnt], check=True)
        subprocess.run(['rm', '-rf', '--one-file-system', self.tmp], check=True)

    def path(self, *parts):
        return os.path.join(self.tmp, *parts)

    def serve(self, *opts):
        self.server = subprocess.Popen(
            [SERVER, '--shared-dir', self.share, '--socket-path', self.sock,
             '--tag', 'share', '--sandbox', 'none', '--xattr', *opts],
            stderr=subprocess.PIPE)
        while not os.path.exists(self.sock):
            self.assertIsNone(self.server.poll(), 'the server ended')
            time.sleep(0.01)

    def stop_server(self, signo=signal.SIGTERM):
        self.server.send_signal(signo)
        log = self.server.communicate(timeout=TIMEOUT)[1]
        self.server = None
        self.assertNotIn(b'Sanitizer', log)
        return log

    def copy_for_all(self):
        """The client and its library where any user may read them."""
        to = self.path('bin')
        os.mkdir(to)
        program = shutil.which(CLIENT)
        ldd = subprocess.run(['ldd', program], capture_output=True, text=True, check=True)
        libs = [w for w in ldd.stdout.split() if w.startswith('/') and 'libvirtiofs' in w]
        for f in [program, *libs]:
            os.chmod(shutil.copy(f, to), 0o755)
        return to

    def command(self, *args, opts=()):
        return [CLIENT, *opts, 'vhost-user:' + self.sock, 'mount', self.mnt, *args]

    def mount(self, *args, opts=()):
        self.client = subprocess.Popen(self.command('-f', *args, opts=opts),
                                       stderr=subprocess.PIPE)
        while self.mnt not in mounts():
            self.assertIsNone(self.client.poll(), 'the client ended')
            time.sleep(0.01)

    def umount(self):
        subprocess.run(['umount', self.mnt], check=True, timeout=TIMEOUT)

    def ended(self, status=0):
        """What the client said until its end."""
        err = self.client.communicate(timeout=TIMEOUT)[1].decode()
        self.assertNotIn('Sanitizer', err)
        self.assertNotIn('runtime error', err)
        self.assertEqual(self.client.returncode, status, err)
        self.client = None
        self.assertNotIn(self.mnt, mounts())
        return err

    def helper(self, text, *args):
        """Python in a process of its own; its standard output is a pipe."""
        p = subprocess.Popen([sys.executable, '-c', text, *args], text=True,
                             stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        self.helpers.append(p)
        return p

    def lock_waiter(self, path, call='lockf'):
        """A process that waits for a lock; it ends with SIGUSR1."""
        p = self.helper(WAIT_LOCK, path, call)
        self.assertEqual(p.stdout.readline(), 'ready\n')
        self.wait_blocked(p)
        return p

    def wait_blocked(self, p):
        """Until it sleeps in the kernel's fuse, for a reply."""
        while True:
            with open(f'/proc/{p.pid}/wchan', encoding='ascii') as f:
                if f.read() == 'request_wait_answer':
                    return
            self.assertIsNone(p.poll())
            time.sleep(0.01)

    def outcome(self, p):
        """The rest of what a helper printed."""
        out = p.communicate(timeout=TIMEOUT)[0]
        self.assertEqual(p.returncode, 0)
        return out.strip()


def main():
    why = reason_to_skip()
    if why:
        print('skipped: ' + why)
        sys.exit(77)
    unittest.main(verbosity=2, argv=sys.argv[:1])
