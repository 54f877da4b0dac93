// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct NotifySocketTests {
    private let listener: NotifyListener

    init() throws { self.listener = try NotifyListener() }

    @Test func `lines and descriptors arrive together, and the kernel names the sender`() throws {
        let file = OwnedDescriptor(takingOwnershipOf: open("/dev/null", O_RDONLY | O_CLOEXEC))
        try self.listener.socket.send(["READY=1", "STATUS=all is well"], descriptors: [file.borrowed])
        let arrival = try #require(self.listener.receive())
        #expect(String(decoding: arrival.bytes, as: UTF8.self) == "READY=1\nSTATUS=all is well")
        #expect(arrival.descriptors.count == 1 && isCloseOnExec(arrival.descriptors[0].borrowed))
        #if os(Linux)
        let sender = try #require(arrival.sender)
        #expect(sender == (getpid(), getuid()))
        #endif
        #expect(self.listener.receive() == nil)
    }

    @Test func `a path is an address too`() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/notify"
        let socket = try BoundSocket.bind(.unix(path: path, kind: .datagram))
        try NotifySocket(address: path).send(["READY=1"])
        var bytes = [UInt8](repeating: 0, count: 64)
        #expect(read(socket.borrowed, &bytes, bytes.count) == 7)
    }

    @Test func `a socket that is not there is an error, at once`() {
        #expect(throws: SystemCallError.self) { try NotifySocket(address: "/nowhere/at/all").send(["READY=1"]) }
        #expect(throws: SystemCallError.self) { try NotifySocket(address: "vsock:2:1").send(["READY=1"]) }
    }

    @Test func `a full queue is waited for, and not for ever`() throws {
        var count = 0
        var failure: SystemCallError?
        while failure == nil, count < 100_000 {
            do throws(SystemCallError) {
                try self.listener.socket.send(["STATUS=\(count)"], within: .milliseconds(10))
                count += 1
            } catch {
                failure = error
            }
        }
        #expect([EAGAIN, ENOBUFS].contains(failure?.number) && count > 0)
        #expect(self.listener.receive() != nil)
        try self.listener.socket.send(["STATUS=again"], within: .milliseconds(10))
    }

    @Test func `a barrier is passed when the manager closes what came with it`() async throws {
        let socket = self.listener.socket
        #expect(try !socket.waitForManager(within: .milliseconds(20)))
        _ = self.listener.receive()
        let listener = self.listener
        async let passed = onItsOwnThread { try socket.waitForManager(within: patience) }
        try await onItsOwnThread {
            guard readable(listener.number, within: patience) else { throw SystemCallError("poll", ETIMEDOUT) }
            let arrival = listener.receive()
            #expect(arrival?.descriptors.count == 1)
        }
        #expect(try await passed)
    }
}
