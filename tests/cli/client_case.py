# SPDX-License-Identifier: LGPL-2.1-or-later
"""Test cases that run virtiofs-client against the scripted peer."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

from fuse_server import FuseServer
from vhost_peer import VhostPeer

CLIENT = os.environ.get('VIRTIOFS_CLIENT', 'virtiofs-client')
TIMEOUT = 120


class ClientCase(unittest.TestCase):
    """tmp is the working directory of the client."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix='vfs-cli-')
        self.sock = os.path.join(self.tmp, 's')
        self.peer = self.server = None
        self.addCleanup(self.clean)

    def clean(self):
        if self.peer:
            self.peer.close()
        # trees of a peer's making can be deeper than rmtree() goes
        subprocess.run(['chmod', '-R', 'u+rwx', self.tmp], stderr=subprocess.DEVNULL)
        subprocess.run(['rm', '-rf', self.tmp], check=True)

    def serve(self, server=None, **kw):
        """A server; it must be left without lookups, handles and mistakes."""
        self.server = server or FuseServer()
        self.gone = threading.Event()
        lost = self.server.lost

        def on_lost():
            lost()
            self.gone.set()
        self.server.lost = on_lost
        self.peer = VhostPeer(self.sock, self.server, **kw)
        return self.server

    def path(self, *parts):
        return os.path.join(self.tmp, *parts)

    def write(self, name, data=b'', mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def read(self, *parts):
        with open(self.path(*parts), 'rb') as f:
            return f.read()

    def command(self, *args, opts=()):
        return [CLIENT, *opts, 'vhost-user:' + self.sock, *args]

    def copy_for_all(self):
        """The client and its library where any user may read them: the
        checkout can be in a directory that is closed to others."""
        to = tempfile.mkdtemp(prefix='vfs-cli-bin-')
        self.addCleanup(shutil.rmtree, to)
        os.chmod(to, 0o755)
        program = shutil.which(CLIENT)
        ldd = subprocess.run(['ldd', program], capture_output=True, text=True, check=True)
        libs = [w for w in ldd.stdout.split() if w.startswith('/') and 'libvirtiofs' in w]
        for f in [program, *libs]:
            os.chmod(shutil.copy(f, to), 0o755)
        return to

    def start(self, *args, opts=(), **kw):
        env = dict(os.environ, LC_ALL='C', TZ='UTC')
        command = self.command(*args, opts=opts)
        if 'user' in kw:
            to = self.copy_for_all()
            env['LD_LIBRARY_PATH'] = to
            command[0] = os.path.join(to, os.path.basename(CLIENT))
        return subprocess.Popen(command, cwd=self.tmp,
                                env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **kw)

    def finish(self, p):
        try:
            out, err = p.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            self.fail(f'no end; so far: {out} {err}')
        self.assertNotIn(b'Sanitizer', err)
        self.assertNotIn(b'runtime error', err)
        return p.returncode, out.decode('utf-8', 'surrogateescape'), \
            err.decode('utf-8', 'surrogateescape')

    def run_client(self, *args, opts=(), **kw):
        if self.server:
            self.gone.clear()
        r = self.finish(self.start(*args, opts=opts, **kw))
        if self.server:
            self.wait_gone()
        return r

    def wait_gone(self):
        self.assertTrue(self.gone.wait(TIMEOUT), 'connection is still there')
        self.assertIsNone(self.peer.error, self.peer.error)

    def clean_server(self):
        """What a good client leaves behind."""
        s = self.server
        self.assertEqual(s.mistakes, [])
        self.assertEqual(s.wrong_queue, [])
        self.assertEqual(s.unforgotten(), {})
        self.assertEqual(s.handles, {})
        self.assertEqual(s.destroyed, s.counts['INIT'])

    def ok(self, *args, opts=(), **kw):
        """The output of a command that does all it should."""
        status, out, err = self.run_client(*args, opts=opts, **kw)
        self.assertEqual((status, err), (0, ''), (args, out))
        if self.server:
            self.clean_server()
        return out

    def fails(self, *args, opts=(), clean=True, **kw):
        """The message of a command that has to fail."""
        status, out, err = self.run_client(*args, opts=opts, **kw)
        self.assertEqual(status, 1, (args, out, err))
        for line in err.splitlines():
            self.assertTrue(line.startswith(('virtiofs-client: ', 'Try ')), err)
        if self.server and clean:
            self.clean_server()
        return err


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    unittest.main(verbosity=2, argv=sys.argv[:1])
