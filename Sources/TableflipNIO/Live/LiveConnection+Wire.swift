// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Tableflip

/// What a connection's state on the wire is made of: the name of its protocol, in a length and so many bytes, and what
/// the protocol saved.
extension LiveConnection.Resumed {
    init?(_ state: [UInt8]) {
        guard let length = state.first, state.count > Int(length) else { return nil }
        self.protocolName = String(decoding: state[1..<1 + Int(length)], as: UTF8.self)
        self.state = Array(state[(1 + Int(length))...])
    }

    var bytes: [UInt8] {
        let name = Array(self.protocolName.utf8.prefix(255))
        return [UInt8(name.count)] + name + self.state
    }
}
#endif  // NIO
