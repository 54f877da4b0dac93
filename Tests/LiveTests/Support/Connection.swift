// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A client's connection: bytes out, answers in, everything with a deadline.
final class Connection: @unchecked Sendable {
    // SAFETY: used by one thread at a time; the server's end closes it when that thread has ended.
    private static let patience: TimeInterval = 60

    private var descriptor: CInt
    /// Read and not used yet, from `start` on.
    private var pending: [UInt8] = []
    private var start = 0
    private var room = [UInt8](repeating: 0, count: 1 << 16)

    init(port: UInt16) throws {
        #if canImport(Glibc)
        self.descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        #else
        self.descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        guard self.descriptor >= 0 else { throw Unexpected("socket: \(Self.reason)") }
        _ = fcntl(self.descriptor, F_SETFD, FD_CLOEXEC)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(self.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Unexpected("connect: \(Self.reason)") }
        _ = fcntl(self.descriptor, F_SETFL, O_NONBLOCK)
        // So that pieces arrive as they were cut.
        var on: CInt = 1
        setsockopt(self.descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
    }

    deinit { self.close() }

    // MARK: Out

    func send(_ text: String) throws { try self.send(Array(text.utf8)) }

    func send(_ bytes: some Collection<UInt8>) throws {
        var bytes = Array(bytes)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(self.descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else {
                guard errno == EAGAIN || errno == EINTR else { throw Unexpected("write: \(Self.reason)") }
                try self.wait(for: POLLOUT, "to send")
            }
        }
    }

    /// Nothing more will be sent; answers may come.
    func finishSending() throws {
        try require(shutdown(self.descriptor, CInt(SHUT_WR)) == 0, "shutdown: \(Self.reason)")
    }

    /// Ends it as a client that crashes does.
    func reset() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(self.descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
        self.close()
    }

    func close() {
        if self.descriptor >= 0 { _ = Foundation.close(self.descriptor) }
        self.descriptor = -1
    }

    // MARK: In

    /// The next line, without its end.
    func line() throws -> String {
        var next = self.start
        while true {
            while next < self.pending.count, self.pending[next] != UInt8(ascii: "\n") { next += 1 }
            if next < self.pending.count { break }
            let scanned = next - self.start
            try require(scanned < 1 << 16, "a line without end")
            try require(try self.fill(), "the connection ended within a line")
            next = self.start + scanned
        }
        var line = self.pending[self.start..<next]
        self.start = next + 1
        try require(line.popLast() == UInt8(ascii: "\r"), "a line ends with \\n alone")
        return String(decoding: line, as: UTF8.self)
    }

    func bytes(_ count: Int) throws -> ArraySlice<UInt8> {
        while self.pending.count - self.start < count {
            try require(
                try self.fill(), "the connection ended \(count - self.pending.count + self.start) bytes too early")
        }
        defer { self.start += count }
        return self.pending[self.start..<self.start + count]
    }

    /// The other side has sent everything that it will, and all of it has been read.
    func expectEnd() throws {
        if try self.start < self.pending.count || self.fill() {
            let rest = String(decoding: self.pending[self.start...].prefix(200), as: UTF8.self)
            throw Unexpected("more came where the end was to be: \(rest.debugDescription)")
        }
    }

    /// Waits a moment for something to come.
    func isReadable(within milliseconds: CInt) throws -> Bool {
        if self.start < self.pending.count { return true }
        var item = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&item, 1, milliseconds) > 0
    }

    /// - Returns: false at the end.
    private func fill() throws -> Bool {
        if self.start > 1 << 16 || self.start == self.pending.count {
            self.pending.removeFirst(self.start)
            self.start = 0
        }
        while true {
            let count = read(self.descriptor, &self.room, self.room.count)
            if count >= 0 {
                self.pending += self.room[..<count]
                return count > 0
            }
            guard errno == EAGAIN || errno == EINTR else { throw Unexpected("read: \(Self.reason)") }
            try self.wait(for: POLLIN, "for an answer")
        }
    }

    private func wait(for what: CInt, _ why: String) throws {
        let deadline = Date(timeIntervalSinceNow: Self.patience)
        var item = pollfd(fd: self.descriptor, events: Int16(what), revents: 0)
        while true {
            let left = deadline.timeIntervalSinceNow
            guard left > 0 else { throw Unexpected("waited \(Self.patience) s \(why)") }
            let result = poll(&item, 1, CInt(left * 1000) + 1)
            if result > 0 { return }
            if result < 0, errno != EINTR { throw Unexpected("poll: \(Self.reason)") }
        }
    }

    private static var reason: String { String(cString: strerror(errno)) }
}
