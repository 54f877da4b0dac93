// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

@Suite struct LiveDescriptorTests {
    @Test func `what came from the predecessor is served when it is taken out, and not before`() throws {
        let pair = try Pair()
        let connection = LiveDescriptor(
            receiving: try pair.duplicate(), .init(listener: "web", unread: [1], state: [2])
        )
        #expect(connection.unread == [1] && connection.state == [2])
        #expect(!ServedMark.isSet(on: pair.one.number))
        #expect(connection.takeDescriptor()?.borrowed != nil)
        #expect(ServedMark.isSet(on: pair.one.number))
        #expect(connection.takeDescriptor()?.borrowed == nil)
    }

    @Test func `what was accepted here has no mark, and what is sent has none any more`() throws {
        let pair = try Pair()
        let connection = LiveDescriptor(takingOwnershipOf: try pair.duplicate(), listener: "web")
        ServedMark.set(on: pair.one.number)
        #expect(connection.isServed)
        #expect(connection.lentToSuccessor() != nil)
        #expect(!connection.isServed)
        #expect(connection.takeDescriptor()?.borrowed != nil)
        #expect(!ServedMark.isSet(on: pair.one.number))
    }
}
