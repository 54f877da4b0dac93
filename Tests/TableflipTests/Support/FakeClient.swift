// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

@testable import Tableflip

/// A client of the control socket.
final class FakeClient: Sendable {
    private let connection: Held

    init(_ path: String) throws {
        self.connection = Held(try LocalConnection.connect(to: path, timeout: patience))
    }

    func say(_ request: ControlRequest) {
        _ = LocalConnection.send(request.frame.encoded()[...], to: self.connection.number)
    }

    /// The reply after which none comes; what is said before is passed over.
    func lastReply() async throws -> ControlReply {
        try await onItsOwnThread { [connection] in
            let end = ContinuousClock.now + patience
            var decoder = ControlDecoder(limit: ControlLimit.reply)
            var bytes = [UInt8](repeating: 0, count: 4096)
            while true {
                while let frame = try decoder.next() {
                    let reply = try ControlReply(frame)
                    if reply.isLast { return reply }
                }
                guard readable(connection.number, within: ContinuousClock.now.duration(to: end)),
                    case .bytes(let count) = LocalConnection.receive(from: connection.number, into: &bytes)
                else { throw TimedOut(what: "the last reply") }
                decoder.append(bytes[..<count])
            }
        }
    }
}
