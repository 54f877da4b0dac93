// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation
import NIOCore
import NIOPosix
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

@Suite(.timeLimit(.minutes(5))) struct DatagramGateTests {
    @Test func `a socket that takes connections is not taken for one that takes datagrams`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let error = await #expect(throws: UpgradeError.self) {
            _ = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .bind(to: listener, of: upgrader)
        }
        #expect(error?.code == .listenFailed)
        upgrader.stop()
    }

    @Test func `an initialiser that fails closes the channel, and its error arrives`() async throws {
        struct Failure: Error {}
        let upgrader = try StubUpgrader().upgrader
        let socket = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0))
        await #expect(throws: Failure.self) {
            _ = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .bind(to: socket, of: upgrader) { $0.eventLoop.makeFailedFuture(Failure()) as EventLoopFuture<Void> }
        }
        upgrader.stop()
    }

    /// NIO traps on the first datagram that is written to one.
    @Test func `a Unix datagram socket is refused`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let path = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))").path
        let socket = try upgrader.listen(on: .unix(path: path, kind: .datagram))
        let error = await #expect(throws: UpgradeError.self) {
            _ = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .bind(to: socket, of: upgrader)
        }
        #expect(error?.code == .listenFailed)
        upgrader.stop()
        unlink(path)
    }

    /// NIO by itself throws away what was written and has not been sent.
    @Test func `closing sends what was written before`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let own = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "own")
        let peer = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "peer")
        let gate = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup).bind(to: own, of: upgrader)
        let address = try NIOCore.SocketAddress(ipAddress: "127.0.0.1", port: Int(try #require(peer.port)))
        let count = 20
        for number in 0..<count {
            let data = ByteBuffer(string: "\(number)")
            gate.channel.write(AddressedEnvelope(remoteAddress: address, data: data), promise: nil)
        }
        try await gate.close()
        #expect(!gate.channel.isActive)
        let reader = try peer.duplicate()
        let received = reader.withBorrowed { Self.receive(count, from: $0) }
        #expect(received == (0..<count).map { "\($0)" })
        upgrader.stop()
    }

    /// Of a program that reads at its own pace. What comes after the pause is the other process's.
    @Test func `a pause withdraws a read that was asked for with autoRead off`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let own = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "own")
        let peer = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "peer")
        let bootstrap = DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        let gate = try await bootstrap.bind(to: own, of: upgrader)
        let other = try await bootstrap.bind(to: peer, of: upgrader)
        try await upgrader.ready()
        try await gate.channel.setOption(.autoRead, value: false).get()
        gate.channel.read()
        try await gate.pause()
        let address = try NIOCore.SocketAddress(ipAddress: "127.0.0.1", port: Int(try #require(own.port)))
        let datagram = AddressedEnvelope(remoteAddress: address, data: ByteBuffer(string: "late"))
        try await other.channel.writeAndFlush(datagram)
        // What a loop is woken for it does before this.
        try await gate.channel.eventLoop.submit {}.get()
        let reader = try own.duplicate()
        #expect(reader.withBorrowed { Self.receive(1, from: $0) } == ["late"])
        upgrader.stop()
    }

    /// A proxy writes what comes on one channel, and on its event loop, to another.
    @Test func `what was written with a promise of another event loop is sent before the end too`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let upgrader = try StubUpgrader().upgrader
        let own = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "own")
        let peer = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 0), name: "peer")
        let gate = try await DatagramBootstrap(group: group).bind(to: own, of: upgrader)
        let address = try NIOCore.SocketAddress(ipAddress: "127.0.0.1", port: Int(try #require(peer.port)))
        let other = try #require(group.makeIterator().first { $0 !== gate.channel.eventLoop })
        let promise = other.makePromise(of: Void.self)
        gate.channel.write(
            AddressedEnvelope(remoteAddress: address, data: ByteBuffer(string: "last")), promise: promise)
        try await gate.close()
        try await promise.futureResult.get()
        let received = try peer.duplicate().withBorrowed { Self.receive(1, from: $0) }
        #expect(received == ["last"])
        upgrader.stop()
        try await group.shutdownGracefully()
    }

    private static func receive(_ count: Int, from socket: CInt) -> [String] {
        var received: [String] = []
        var bytes = [UInt8](repeating: 0, count: 16)
        var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        while received.count < count, poll(&waiting, 1, 20_000) > 0 {
            let length = recv(socket, &bytes, bytes.count, 0)
            if length > 0 { received.append(String(decoding: bytes[..<length], as: UTF8.self)) }
        }
        return received
    }
}
#endif  // NIO
