// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization
import Tableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// A thread that accepts, answers every connection with this process's id as a HTTP/1.0 response, and closes it. A
/// datagram is answered with the id alone.
final class AcceptLoop: SocketReader {
    private enum Order: UInt8 {
        case pause = 1
        case resume = 2
        case end = 3
    }

    private let socket: OwnedDescriptor
    private let orders: WakeUp
    private let waiting = Mutex<[CheckedContinuation<Void, Never>]>([])
    private let isDatagram: Bool
    private let pauseWait: String?
    private let saysAccepts: Bool
    private let pending = Mutex<[Order]>([])
    private let hasFailed = Mutex(false)

    init(_ listener: Listener, isDatagram: Bool, pauseWait: String?, saysAccepts: Bool) throws {
        self.socket = try listener.duplicate()
        self.isDatagram = isDatagram
        self.pauseWait = pauseWait
        self.saysAccepts = saysAccepts
        self.orders = try WakeUp()
    }

    /// Begins, paused.
    func start() {
        let box = Unmanaged.passRetained(self)
        // SAFETY: retained here, released by the thread, exactly once.
        if tf_start_thread(runAcceptLoop, box.toOpaque(), "accept") != 0 { fatalError("no thread") }
    }

    func pause() async {
        if Faults.neverPauses.withLock({ $0 }) { await Faults.wait() }
        if let pauseWait {
            Probe.say(0, "pausing")
            await Fifo.awaitByte(from: pauseWait)
        }
        // Too late: `resume` may have been called meanwhile, and the later call wins.
        if !Task.isCancelled { await self.give(.pause) }
    }

    func resume() async { await self.give(.resume) }
    func end() async { await self.give(.end) }

    private func give(_ order: Order) async {
        await withCheckedContinuation { continuation in
            self.waiting.withLock { $0.append(continuation) }
            self.pending.withLock { $0.append(order) }
            self.orders.signal()
        }
    }

    fileprivate func run() {
        var isReading = false
        while true {
            var poll = Poll<Bool>()
            poll.add(false, self.orders.descriptor, Poll<Bool>.readable)
            if isReading { poll.add(true, self.socket.borrowed, Poll<Bool>.readable) }
            for isSocket in poll.wait(nil) {
                if isSocket {
                    self.serve()
                    continue
                }
                self.orders.clear()
                let orders = self.pending.withLock { orders in
                    defer { orders = [] }
                    return orders
                }
                for order in orders {
                    isReading = order == .resume
                    let next = self.waiting.withLock { $0.removeFirst() }
                    next.resume()
                    if order == .end { return }
                }
                break  // what poll said of the socket may no longer be wanted
            }
        }
    }

    private func serve() {
        if self.isDatagram { return self.answerDatagram() }
        let connection = accept(self.socket.borrowed, nil, nil)
        guard connection >= 0 else { return self.acceptFailed(errno) }
        let owned = OwnedDescriptor(takingOwnershipOf: connection)
        tf_set_close_on_exec(connection, true)
        if self.saysAccepts { Probe.say(0, "accepted \(Self.port(ofPeer: connection))") }
        var poll = Poll<Bool>()
        poll.add(true, connection, Poll<Bool>.readable)
        guard !poll.wait(.seconds(60)).isEmpty else { return }
        var request = [UInt8](repeating: 0, count: 4096)
        guard read(connection, &request, request.count) > 0 else { return }
        let body = "\(getpid())\n"
        let answer = Array("HTTP/1.0 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
        _ = write(connection, answer, answer.count)
        owned.close()
    }

    private static func port(ofPeer connection: CInt) -> UInt16 {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the size says how much room there is.
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(connection, $0, &size) }
        }
        return result == 0 && address.sin_family == sa_family_t(AF_INET) ? UInt16(bigEndian: address.sin_port) : 0
    }

    /// Another process took it; or there is no room, which is said once, and it is tried again.
    private func acceptFailed(_ number: CInt) {
        guard number == EMFILE else { return }
        let isNews = self.hasFailed.withLock { hasFailed in
            defer { hasFailed = true }
            return !hasFailed
        }
        if isNews { Probe.say(0, "accept-failed") }
        var poll = Poll<Bool>()
        poll.add(true, self.orders.descriptor, Poll<Bool>.readable)
        _ = poll.wait(.milliseconds(10))
    }

    private func answerDatagram() {
        let answer = Array("\(getpid())\n".utf8)
        var bytes = [UInt8](repeating: 0, count: 2048)
        var from = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // SAFETY: sockaddr_storage has room for every address.
        withUnsafeMutablePointer(to: &from) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                let count = recvfrom(self.socket.borrowed, &bytes, bytes.count, 0, address, &size)
                if count >= 0 { _ = sendto(self.socket.borrowed, answer, answer.count, 0, address, size) }
            }
        }
    }
}

private func runAcceptLoop(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `start` retained.
    Unmanaged<AcceptLoop>.fromOpaque(context).takeRetainedValue().run()
}
