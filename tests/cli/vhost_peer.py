# SPDX-License-Identifier: LGPL-2.1-or-later
"""A vhost-user back-end with split rings, in Python: a peer of virtiofs-client
that is not made of our own code, and does what a test tells it.

Messages and their numbers: docs/interop/vhost-user.rst of QEMU. Rings: virtio
1.4, 2.7. One thread serves one connection after the other.
"""
import mmap
import os
import select
import socket
import struct
import threading
import traceback

F_INDIRECT = 1 << 28
F_PROTOCOL = 1 << 30
F_VERSION_1 = 1 << 32

P_MQ = 1 << 0
P_REPLY_ACK = 1 << 3
P_CONFIG = 1 << 9
P_MEM_SLOTS = 1 << 15

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE) = range(1, 6)
(SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK,
 SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES,
 GET_QUEUE_NUM, SET_VRING_ENABLE) = range(8, 19)
GET_CONFIG = 24
GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = range(36, 41)

NEXT, WRITE, INDIRECT = 1, 2, 4


class Region:
    def __init__(self, guest, size, user, offset, fd):
        self.guest, self.size, self.user, self.offset = guest, size, user, offset
        self.map = mmap.mmap(fd, size + offset)
        # struct.pack_into() writes zeroes first, and an index is never that
        self.words = memoryview(self.map).cast('H')
        os.close(fd)


class Chain:
    """A request: what can be read of it, and where the reply goes."""

    def __init__(self, queue, head, readable, writable, in_order=True):
        self.queue, self.head = queue, head
        self.in_order = in_order    # nothing to read after room to write
        self.data = b''.join(m[off:off + n] for m, off, n in readable)
        self.writable = writable
        self.room = sum(n for _, _, n in writable)

    def write(self, data):
        """Fill the room; what does not fit is dropped."""
        pos = 0
        for m, off, n in self.writable:
            part = data[pos:pos + n]
            m[off:off + len(part)] = part
            pos += len(part)


class Queue:
    def __init__(self, index):
        self.index = index
        self.num = 0
        self.desc = self.avail = self.used = None
        self.last = self.used_idx = 0
        self.kick = self.call = None
        self.enabled = False

    def pop(self, peer):
        if not (self.enabled and self.desc and self.num):
            return []
        m, off = self.avail
        idx, = struct.unpack_from('<H', m, off + 2)
        chains = []
        while self.last != idx:
            head, = struct.unpack_from('<H', m, off + 4 + 2 * (self.last % self.num))
            self.last = (self.last + 1) & 0xffff
            chains.append(self.walk(peer, head))
        return chains

    def walk(self, peer, head):
        readable, writable, in_order = [], [], True
        (table, base), i = self.desc, head
        while True:
            addr, n, flags, nxt = struct.unpack_from('<QIHH', table, base + 16 * i)
            m, off = peer.translate(addr, n)
            if flags & INDIRECT:
                table, base, i = m, off, 0
                continue
            in_order = in_order and not (writable and not flags & WRITE)
            (writable if flags & WRITE else readable).append((m, off, n))
            if not flags & NEXT:
                return Chain(self, head, readable, writable, in_order)
            i = nxt

    def push(self, head, used_len):
        m, off = self.used
        struct.pack_into('<II', m, off + 4 + 8 * (self.used_idx % self.num),
                         head, used_len)
        self.used_idx = (self.used_idx + 1) & 0xffff
        self.words[off // 2 + 1] = self.used_idx
        if self.call is not None:
            os.eventfd_write(self.call, 1)


class HangUp(Exception):
    """Raised by a handler: the peer goes away without another word."""


class VhostPeer:
    """Listens on path; handler.request(chain) answers with reply() below."""

    def __init__(self, path, handler, features=F_INDIRECT | F_VERSION_1,
                 protocol=P_MQ | P_REPLY_ACK | P_CONFIG | P_MEM_SLOTS,
                 tag=b'scripted', request_queues=1):
        self.handler = handler
        self.features = features | (F_PROTOCOL if protocol else 0)
        self.protocol = protocol
        self.config = tag.ljust(36, b'\0') + struct.pack('<I', request_queues)
        self.request_queues = request_queues
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1)
        self.wake = os.eventfd(0)
        self.error = None
        self.connections = 0
        self.messages = []      # (number, flags, body, descriptors)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        os.eventfd_write(self.wake, 1)
        self.thread.join()
        self.listener.close()
        os.close(self.wake)

    def run(self):
        while True:
            ready, _, _ = select.select([self.listener, self.wake], [], [])
            if self.wake in ready:
                return
            conn, _ = self.listener.accept()
            self.connections += 1
            try:
                self.serve(conn)
            except (HangUp, EOFError, ConnectionError):
                pass
            except Exception:
                self.error = traceback.format_exc()
            finally:
                self.drop(conn)

    def drop(self, conn):
        conn.close()
        for q in self.queues:
            for fd in (q.kick, q.call):
                if fd is not None:
                    os.close(fd)
        self.handler.lost()

    def serve(self, conn):
        self.regions = []
        self.queues = [Queue(i) for i in range(1 + self.request_queues)]
        self.ack = False
        while True:
            kicks = {q.kick: q for q in self.queues if q.kick is not None}
            ready, _, _ = select.select([conn, self.wake, *kicks], [], [],
                                        self.handler.patience)
            if self.wake in ready:
                return
            # Hiprio first; each queue's eventfd is ours to read.
            for fd in ready:
                if fd in kicks:
                    os.eventfd_read(fd)
            for q in self.queues:
                self.drain(q)
            if conn in ready:
                self.message(conn)
            elif not ready:
                self.handler.idle()

    def drain(self, q):
        chains = q.pop(self)
        if chains:
            self.handler.batch(q.index, chains)
            for c in chains:
                self.handler.request(c)

    def translate(self, addr, size):
        for r in self.regions:
            if r.guest <= addr and addr + size <= r.guest + r.size:
                return r.map, addr - r.guest + r.offset
        raise ValueError(f'{addr:#x}+{size} is in no region')

    def user(self, addr):
        for r in self.regions:
            if r.user <= addr < r.user + r.size:
                return r.map, addr - r.user + r.offset
        raise ValueError(f'user address {addr:#x} is in no region')

    def message(self, conn):
        head, fds, _, _ = socket.recv_fds(conn, 12, 16)
        if not head:
            raise EOFError
        while len(head) < 12:
            head += conn.recv(12 - len(head)) or b''
        req, flags, size = struct.unpack('<III', head)
        body = b''
        while len(body) < size:
            part, more, _, _ = socket.recv_fds(conn, size - len(body), 16)
            if not part:
                raise EOFError
            body += part
            fds += more
        self.messages.append((req, flags, body, len(fds)))
        answer = self.handle(req, body, list(fds))
        if answer is None and flags & 8 and self.ack:
            answer = struct.pack('<Q', 0)
        if answer is not None:
            conn.sendall(struct.pack('<III', req, 1 | 4, len(answer)) + answer)

    def handle(self, req, body, fds):
        if req == GET_FEATURES:
            return struct.pack('<Q', self.features)
        if req == GET_PROTOCOL_FEATURES:
            return struct.pack('<Q', self.protocol)
        if req == SET_PROTOCOL_FEATURES:
            self.ack = bool(struct.unpack('<Q', body)[0] & P_REPLY_ACK)
        elif req == GET_QUEUE_NUM:
            return struct.pack('<Q', 1 + self.request_queues)
        elif req == GET_MAX_MEM_SLOTS:
            return struct.pack('<Q', 32)
        elif req == GET_STATUS:
            return struct.pack('<Q', 0)
        elif req == GET_CONFIG:
            off, size, flags = struct.unpack_from('<III', body)
            data = self.config.ljust(off + size, b'\0')[off:off + size]
            return struct.pack('<III', off, size, flags) + data
        elif req == SET_MEM_TABLE:
            self.regions = []
            for i, fd in enumerate(fds):
                self.regions.append(
                    Region(*struct.unpack_from('<QQQQ', body, 8 + 32 * i), fd))
        elif req == ADD_MEM_REG:
            self.regions.append(
                Region(*struct.unpack_from('<QQQQ', body, 8), fds[0]))
        elif req == REM_MEM_REG:
            guest, = struct.unpack_from('<Q', body, 8)
            self.regions = [r for r in self.regions if r.guest != guest]
            for fd in fds:
                os.close(fd)
        elif SET_VRING_NUM <= req <= SET_VRING_ERR or req == SET_VRING_ENABLE:
            return self.vring(req, body, fds)
        return None

    def vring(self, req, body, fds):
        index, value = struct.unpack_from('<II', body.ljust(8, b'\0'))
        q = self.queues[index & 0xff]
        if req == SET_VRING_NUM:
            q.num = value
        elif req == SET_VRING_ADDR:
            _, _, desc, used, avail, _ = struct.unpack('<IIQQQQ', body)
            q.desc, q.used, q.avail = map(self.user, (desc, used, avail))
            q.words = next(r.words for r in self.regions if r.map is q.used[0])
        elif req == SET_VRING_BASE:
            q.last = q.used_idx = value
        elif req == GET_VRING_BASE:
            q.enabled = False
            return struct.pack('<II', index, q.last)
        elif req == SET_VRING_KICK:
            if q.kick is not None:
                os.close(q.kick)
            q.kick = fds[0] if fds else None
            q.enabled = q.enabled or not self.protocol
        elif req == SET_VRING_CALL:
            if q.call is not None:
                os.close(q.call)
            q.call = fds[0] if fds else None
        elif req == SET_VRING_ERR:
            for fd in fds:
                os.close(fd)
        elif req == SET_VRING_ENABLE:
            q.enabled = bool(value)
        return None
