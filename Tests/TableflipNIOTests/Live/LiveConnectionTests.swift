// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Testing

@testable import TableflipNIO

@Suite struct LiveConnectionTests {
    @Test(arguments: [("", []), ("http/1", []), ("websocket", [0, 255, 1]), ("é", [9])] as [(String, [UInt8])])
    func `what a connection resumes from survives the wire`(_ name: String, _ state: [UInt8]) {
        let resumed = LiveConnection.Resumed(protocolName: name, state: state)
        #expect(LiveConnection.Resumed(resumed.bytes) == resumed)
    }

    @Test(arguments: [[], [1], [5, 1, 2]] as [[UInt8]])
    func `what is cut short is nothing to resume from`(_ bytes: [UInt8]) {
        #expect(LiveConnection.Resumed(bytes) == nil)
    }
}
#endif  // NIO
