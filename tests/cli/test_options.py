# SPDX-License-Identifier: LGPL-2.1-or-later
"""Command lines that can't work, and peers that are not there."""
import os
import socket
import subprocess
import unittest

from client_case import CLIENT, ClientCase, main

TRY = "Try 'virtiofs-client --help' for more information."


class Options(ClientCase):
    def usage(self, *args):
        p = subprocess.run([CLIENT, *args], capture_output=True, text=True,
                           env=dict(os.environ, LC_ALL='C'))
        self.assertEqual((p.returncode, p.stdout), (1, ''))
        self.assertTrue(p.stderr.startswith('virtiofs-client: '), p.stderr)
        return p.stderr

    def test_help_is_no_error(self):
        for args in (['--help'], ['x:', 'get', '--help']):
            p = subprocess.run([CLIENT, *args], capture_output=True, text=True)
            self.assertEqual((p.returncode, p.stderr), (0, ''))
            self.assertIn('Usage: virtiofs-client', p.stdout)

    def test_version_is_the_library_s(self):
        p = subprocess.run([CLIENT, '--version'], capture_output=True, text=True)
        self.assertRegex(p.stdout, r'^virtiofs-client \(libvirtiofs\) \d+\.\d+\.\d+\n$')

    def test_unknown_option(self):
        for args in (['--frob'], ['-x'], ['u:', 'ls', '--frob'], ['u:', 'ls', '-y'],
                     ['u:', 'cat', '-r', 'x'], ['u:', 'get', '--json', 'x']):
            err = self.usage(*args)
            self.assertIn('option', err)
            self.assertIn(TRY, err)

    def test_operands(self):
        self.assertIn('missing URI', self.usage())
        self.assertIn('missing command', self.usage('u:'))
        self.assertIn("unknown command 'frob'", self.usage('u:', 'frob'))
        self.assertIn('cat: missing operand\n', self.usage('u:', 'cat'))
        self.assertIn("put: missing operand after 'a'", self.usage('u:', 'put', 'a'))
        self.assertIn("mv: extra operand 'c'", self.usage('u:', 'mv', 'a', 'b', 'c'))

    def test_numbers(self):
        for opt, value, text in (
                ('--queue-size', '0', "invalid queue size '0'"),
                ('--queue-size', '100', 'not a power of two'),
                ('--queue-size', '65536', "invalid queue size '65536'"),
                ('--queue-size', '-8', "invalid queue size '-8'"),
                ('--queues', '0', "invalid number of queues '0'"),
                ('--queues', 'two', "invalid number of queues 'two'"),
                ('--timeout', '-1', "invalid timeout '-1'"),
                ('--timeout', 'nan', "invalid timeout 'nan'"),
                ('--tag', '', "invalid tag ''"),
                ('--tag', 'x' * 37, "not 1 to 36 bytes")):
            self.assertIn(text, self.usage(opt, value, 'u:', 'info'))

    def test_no_such_transport(self):
        for uri in ('carrier-pigeon:x', 'vhost-user', ''):
            err = self.usage(uri, 'info')
            self.assertIn(f"'{uri}'", err)

    def test_missing_socket_is_named(self):
        err = self.usage('vhost-user:/nonexistent/s', 'info')
        self.assertIn("'vhost-user:/nonexistent/s'", err)
        self.assertIn('No such file or directory', err)

    def test_dead_socket(self):
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.sock)
        s.close()
        self.assertIn('Connection refused', self.usage('vhost-user:' + self.sock, 'ls'))

    def test_file_that_is_no_socket(self):
        self.write('s', b'hello')
        self.assertIn(self.sock, self.usage('vhost-user:' + self.sock, 'ls'))

    def test_missing_local_file_is_told(self):
        self.serve()
        self.assertIn("cannot stat 'none': No such file or directory",
                      self.fails('put', 'none', '/'))


if __name__ == '__main__':
    main()
