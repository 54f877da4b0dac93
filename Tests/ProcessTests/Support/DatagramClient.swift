// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// A thread that sends numbered datagrams from one socket, one each millisecond, and counts the answers to each.
final class DatagramClient: Sendable {
    struct Result: Sendable {
        var sent = 0
        /// How often each was answered.
        var answers: [Int: Int] = [:]
        /// How many answers each process gave.
        var processes: [CInt: Int] = [:]
        /// What went wrong otherwise.
        var failures: [String] = []

        var unanswered: [Int] { (0..<self.sent).filter { self.answers[$0] == nil } }
        var answeredTwice: [Int] { self.answers.filter { $0.value > 1 }.map(\.key) }
    }

    /// No more than so many are on their way: however long a process may be kept from running, its socket's buffer does
    /// not overflow (a small datagram takes less than 1 KiB of 208 KiB there, socket(7)).
    private static let window = 100

    private let state = Locked((isStopping: false, result: Result?.none))
    private let done = DispatchSemaphore(value: 0)

    init(port: UInt16) throws {
        let socket = try Self.connect(port)
        Thread.detachNewThread {
            let result = self.run(socket)
            close(socket)
            self.state.withLock { $0.result = result }
            self.done.signal()
        }
    }

    /// Sends no more, and waits until everything has been answered, but no longer than a minute.
    func finish() async throws -> Result {
        self.state.withLock { $0.isStopping = true }
        let result = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                _ = self.done.wait(timeout: .now() + 10 + Double(patience.components.seconds))
                continuation.resume(returning: self.state.withLock { $0.result })
            }
        }
        guard let result else { throw Overdue(description: "the datagram client does not end") }
        return result
    }

    /// A socket that sends to this port of the loopback device.
    static func connect(_ port: UInt16) throws -> CInt {
        let socket = Command.alone {
            let socket = Foundation.socket(AF_INET, SocketType.datagram, 0)
            _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
            return socket
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        // SAFETY: sockaddr_in starts as every sockaddr does; the size says where it ends.
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw POSIXError(.ECONNREFUSED) }
        return socket
    }

    private func run(_ socket: CInt) -> Result {
        var result = Result()
        var deadline: ContinuousClock.Instant?
        while true {
            var poll = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            if Foundation.poll(&poll, 1, 1) > 0 { self.receive(socket, &result) }
            if self.state.withLock({ $0.isStopping }) {
                let limit = deadline ?? ContinuousClock.now + patience
                deadline = limit
                if result.answers.count >= result.sent || ContinuousClock.now > limit { return result }
            } else if result.sent - result.answers.count < Self.window {
                let datagram = Array("\(result.sent)".utf8)
                if send(socket, datagram, datagram.count, 0) == datagram.count {
                    result.sent += 1
                } else {
                    result.failures.append("send: \(String(cString: strerror(errno)))")
                }
            }
        }
    }

    private func receive(_ socket: CInt, _ result: inout Result) {
        var bytes = [UInt8](repeating: 0, count: 2048)
        while true {
            let count = recv(socket, &bytes, bytes.count, CInt(MSG_DONTWAIT))
            guard count >= 0 else {
                if errno != EAGAIN { result.failures.append("recv: \(String(cString: strerror(errno)))") }
                return
            }
            let words = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
            guard words.count == 2, let number = Int(words[0]), let process = CInt(words[1]) else {
                result.failures.append("the answer \(words)")
                continue
            }
            result.answers[number, default: 0] += 1
            result.processes[process, default: 0] += 1
        }
    }
}
