// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// A thread that makes one request after the other, each on a connection of its own, and keeps count.
final class Client: Sendable {
    enum Address: Hashable, Sendable {
        case tcp(port: UInt16)
        case udp(port: UInt16)
        case unix(path: String)
    }

    private struct Failure: Error {
        var description: String

        init(_ call: String) { self.description = "\(call): \(String(cString: strerror(errno)))" }
        init(saying description: String) { self.description = description }
    }

    private struct State {
        var isStopped = false
        var isHeld = false
        var failures: [String] = []
        var answers = 0
    }

    private enum Step {
        case ask
        case wait
        case stop
    }

    let address: Address
    private let log: Log
    /// Locked during a request.
    private let state = Locked(State())
    private let released = DispatchSemaphore(value: 0)

    init(_ address: Address, _ log: Log) {
        self.address = address
        self.log = log
        Thread.detachNewThread { self.run() }
    }

    /// Between two requests, so that none is in flight meanwhile.
    func held<Result>(_ body: () throws -> Result) rethrows -> Result { try self.state.withLock { _ in try body() } }

    /// No request is in flight from here on, until ``release()``.
    func hold() { self.state.withLock { $0.isHeld = true } }

    func release() {
        self.state.withLock { $0.isHeld = false }
        self.released.signal()
    }

    /// How many requests were answered so far.
    var answers: Int { self.state.withLock { $0.answers } }

    /// What went wrong since the last time this was asked.
    func takeFailures() -> [String] {
        self.state.withLock { state in
            defer { state.failures = [] }
            return state.failures
        }
    }

    /// Ends it.
    /// - Returns: what went wrong so far.
    func stop() -> [String] {
        defer { self.released.signal() }
        return self.state.withLock { state in
            state.isStopped = true
            return state.failures
        }
    }

    private func run() {
        while true {
            var answer: CInt?
            let step: Step = self.state.withLock { state in
                guard !state.isStopped else { return .stop }
                guard !state.isHeld else { return .wait }
                do {
                    answer = try self.request()
                    state.answers += 1
                } catch {
                    state.failures.append("\(error)")
                }
                return .ask
            }
            switch step {
            case .stop: return
            case .wait: self.released.wait()
            case .ask:
                // Outside of the lock: who looks at a process now sees it without a connection of ours.
                if let answer { self.log.record { $0.answers[answer, default: 0] += 1 } }
                usleep(5000)  // leaves the processor to those that are tested
            }
        }
    }

    /// - Returns: the process that answered.
    private func request() throws -> CInt {
        let descriptor = try self.connection()
        defer { close(descriptor) }
        let question = Array("GET / HTTP/1.0\r\n\r\n".utf8)
        guard write(descriptor, question, question.count) == question.count else { throw Failure("write") }
        var answer = ""
        var bytes = [UInt8](repeating: 0, count: 1024)
        while true {
            let count = read(descriptor, &bytes, bytes.count)
            guard count >= 0 else { throw Failure("read") }
            answer += String(decoding: bytes[..<count], as: UTF8.self)
            if case .udp = self.address { break }
            if count == 0 { break }
        }
        guard let process = answer.split(whereSeparator: \.isNewline).last.flatMap({ CInt($0) }) else {
            throw Failure(saying: "the answer \"\(answer)\"")
        }
        return process
    }

    private func connection() throws -> CInt {
        let descriptor: CInt
        let result: CInt
        switch self.address {
        case .tcp(let port): (descriptor, result) = Self.open(port, SocketType.stream)
        case .udp(let port): (descriptor, result) = Self.open(port, SocketType.datagram)
        case .unix(let path): (descriptor, result) = Self.open(path)
        }
        guard result == 0 else {
            defer { close(descriptor) }
            throw Failure("connect")
        }
        return descriptor
    }

    private static func open(_ port: UInt16, _ type: CInt) -> (CInt, CInt) {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return self.open(address, AF_INET, type)
    }

    private static func open(_ path: String) -> (CInt, CInt) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        return self.open(address, AF_UNIX, SocketType.stream)
    }

    private static func open<Address>(_ address: Address, _ family: CInt, _ type: CInt) -> (CInt, CInt) {
        let descriptor = socket(family, type, 0)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        var limit = timeval(tv_sec: Int(patience.components.seconds), tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        // SAFETY: each address type starts as sockaddr does; the size says where it ends.
        let result = withUnsafeBytes(of: address) { bytes in
            bytes.baseAddress.map {
                connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            } ?? -1
        }
        return (descriptor, result)
    }
}

/// Constants with other Swift types on other systems.
enum SocketType {
    #if canImport(Glibc)
    static let stream = CInt(SOCK_STREAM.rawValue)
    static let datagram = CInt(SOCK_DGRAM.rawValue)
    #else
    static let stream = SOCK_STREAM
    static let datagram = SOCK_DGRAM
    #endif
}
