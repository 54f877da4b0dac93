// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// One connection to the probe or the demo, step by step.
final class Connection: Sendable {
    private let socket: CInt

    /// Connects. Whoever listens need not have accepted it.
    init(_ port: UInt16, host: String = "127.0.0.1") throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr(host)
        let socket = Command.alone {
            let socket = Foundation.socket(AF_INET, SocketType.stream, 0)
            _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
            return socket
        }
        var limit = timeval(tv_sec: Int(patience.components.seconds), tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        // SAFETY: sockaddr_in starts as sockaddr does; the size says where it ends.
        let result = withUnsafeBytes(of: address) { bytes in
            bytes.baseAddress.map {
                connect(socket, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            } ?? -1
        }
        guard result == 0 else {
            close(socket)
            throw POSIXError(.ECONNREFUSED)
        }
        self.socket = socket
    }

    deinit { close(self.socket) }

    /// By which whoever accepts it knows it.
    var localPort: UInt16 {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        // SAFETY: the size says how much room there is.
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(self.socket, $0, &size) }
        }
        return result == 0 ? UInt16(bigEndian: address.sin_port) : 0
    }

    func ask() throws { try self.say("GET / HTTP/1.0\r\n\r\n") }

    /// Asks, and keeps the connection.
    /// - Returns: the whole answer.
    func keepAsking() async throws -> String {
        try self.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return try await self.hear()
    }

    func say(_ words: String) throws {
        guard write(self.socket, words, words.utf8.count) == words.utf8.count else { throw POSIXError(.EPIPE) }
    }

    /// Whatever comes next, in one piece.
    func hear() async throws -> String {
        try await onItsOwnThread {
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = read(self.socket, &bytes, bytes.count)
            guard count > 0 else {
                throw POSIXError(count == 0 ? .ECONNRESET : POSIXErrorCode(rawValue: errno) ?? .EIO)
            }
            return String(decoding: bytes[..<count], as: UTF8.self)
        }
    }

    /// The process that answers.
    func answer() async throws -> CInt { try await onItsOwnThread { try self.readAnswer() } }

    private func readAnswer() throws -> CInt {
        var answer = ""
        var bytes = [UInt8](repeating: 0, count: 1024)
        while case let count = read(self.socket, &bytes, bytes.count), count != 0 {
            guard count > 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
            answer += String(decoding: bytes[..<count], as: UTF8.self)
        }
        guard let process = answer.split(whereSeparator: \.isNewline).last.flatMap({ CInt($0) }) else {
            throw Overdue(description: "the answer \"\(answer)\"")
        }
        return process
    }
}
