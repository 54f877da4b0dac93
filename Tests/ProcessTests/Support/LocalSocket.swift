// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A Unix socket of the test's own.
enum LocalSocket {
    static func with(
        _ path: String, _ body: (CInt, UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) throws -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let descriptor = socket(AF_UNIX, SocketType.stream, 0)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        // SAFETY: sockaddr_un starts as every sockaddr does; the size says where it ends.
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
        }
        return descriptor
    }

    static func connected(to path: String) throws -> CInt { try self.with(path) { connect($0, $1, $2) } }
}

/// Listens, and accepts nobody unless it is told to.
struct LocalListener {
    private let descriptor: CInt

    init(at path: String) throws {
        self.descriptor = try LocalSocket.with(path) { bind($0, $1, $2) == 0 ? listen($0, 5) : -1 }
    }

    /// Waits for a client, says something to it, and hangs up.
    func answerOne(_ words: String) async throws { try await self.answerOne(Array(words.utf8)) }

    func answerOne(_ bytes: [UInt8]) async throws {
        let descriptor = self.descriptor
        try await onItsOwnThread {
            guard isReadable(descriptor) else { throw POSIXError(.ETIMEDOUT) }
            let client = accept(descriptor, nil, nil)
            guard client >= 0 else { throw POSIXError(.ECONNABORTED) }
            _ = send(client, bytes, bytes.count, CInt(MSG_NOSIGNAL))
            Foundation.close(client)
        }
    }

    func close() { Foundation.close(self.descriptor) }
}
